import json
import struct
import warnings

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from sources import cube
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

from sdi_engine.errors import BadInputError
from sdi_engine.mesh_files.mesh_file import source_from_file
from sdi_engine.surface.look import UNKNOWN, Look


def wedge(**visual):
    """A tetrahedron whose top lies at z = 2 and whose front at y = -1, in Blender's axes."""
    vertices = np.array([[-1, 1, 0], [1, 1, 0], [0, -1, 0], [0, 0, 2]], float)
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]], process=False, **visual)


def in_y_up(mesh):
    mesh = mesh.copy()
    mesh.vertices = mesh.vertices[:, [0, 2, 1]] * [1, 1, -1]
    return mesh


def textured(mesh, colour, uv=None):
    """The mesh with a picture of one colour."""
    uv = np.random.default_rng(0).uniform(0.1, 0.9, (len(mesh.vertices), 2)) if uv is None else uv
    material = PBRMaterial(baseColorTexture=Image.new("RGB", (8, 8), colour))
    mesh.visual = TextureVisuals(uv=uv, material=material)
    return mesh


def look_at_middles(source):
    faces = torch.arange(len(source.faces))
    return Look(source, torch.device("cpu")).colours(faces, torch.full((len(faces), 3), 1 / 3)).numpy() * 255


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl"])
def test_every_kind_of_file_stands_upright(tmp_path, kind):
    mesh = in_y_up(wedge()) if kind in ("glb", "obj") else wedge()
    mesh.export(tmp_path / f"mesh.{kind.upper()}", file_type=kind)
    source, _ = source_from_file(tmp_path / f"mesh.{kind.upper()}")
    corners = source.vertices[source.faces]
    np.testing.assert_allclose(corners.reshape(-1, 3).min(axis=0), [-1, -1, 0], atol=1e-6)
    np.testing.assert_allclose(corners.reshape(-1, 3).max(axis=0), [1, 1, 2], atol=1e-6)
    assert np.linalg.det(corners).sum() > 0  # its volume: the triangles look outwards


def test_objects_stand_in_their_places_also_mirrored_ones(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(in_y_up(wedge()), transform=trimesh.transformations.translation_matrix([0, 5, 0]))
    scene.add_geometry(in_y_up(wedge()), transform=np.diag([-2.0, 1.0, 1.0, 1.0]))
    scene.export(tmp_path / "two.glb")
    source, _ = source_from_file(tmp_path / "two.glb")
    first, second = source.vertices[source.faces[:4]], source.vertices[source.faces[4:]]
    assert first[..., 2].min() == pytest.approx(5)
    assert np.ptp(second[..., 0]) == pytest.approx(4)
    assert np.linalg.det(first).sum() > 0
    assert np.linalg.det(second).sum() > 0


def test_a_closed_mesh_that_is_inside_out_is_turned_over_with_all_that_its_corners_have(tmp_path):
    mesh = textured(wedge(), (1, 2, 3))
    mesh.export(tmp_path / "right.obj")
    mesh.faces = mesh.faces[:, ::-1]
    mesh.export(tmp_path / "wrong.obj")
    right, wrong = (source_from_file(tmp_path / f"{name}.obj")[0] for name in ("right", "wrong"))
    assert np.linalg.det(wrong.vertices[wrong.faces]).sum() > 0
    corners = [np.concatenate([each.vertices[each.faces], each.uv], axis=2).reshape(-1, 5) for each in (right, wrong)]
    np.testing.assert_allclose(*(np.unique(each.round(4), axis=0) for each in corners), atol=1e-4)


def test_uv_coordinates_are_kept_without_a_material_and_without_a_look(tmp_path):
    source = cube()
    mesh = trimesh.Trimesh(
        source.vertices[source.faces].reshape(-1, 3), np.arange(len(source.faces) * 3).reshape(-1, 3), process=False
    )
    mesh.visual = TextureVisuals(uv=source.uv.reshape(-1, 2), material=PBRMaterial())
    content = mesh.export(file_type="glb")
    length = struct.unpack("<I", content[12:16])[0]
    document = json.loads(content[20 : 20 + length])
    del document["meshes"][0]["primitives"][0]["material"]
    text = json.dumps(document, separators=(",", ":")).encode().ljust(length)
    (tmp_path / "cube.glb").write_bytes(content[:20] + text + content[20 + length :])
    read, _ = source_from_file(tmp_path / "cube.glb")
    np.testing.assert_allclose(read.uv, source.uv, atol=1e-6)
    assert read.look is None
    assert read.look_corners is None


def test_corners_of_one_vertex_keep_different_uv_coordinates_in_an_obj_file(tmp_path):
    Image.new("RGB", (8, 8), (7, 8, 9)).save(tmp_path / "a.png")
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd a.png\nnewmtl b\nmap_Kd a.png\n")
    places = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 1\nvt 0 0\nvt .4 0\nvt 0 .4\nvt .5 .5\nvt .9 .5\nvt .5 .9\n"
    one = "f 1/1 2/2 3/3\nf 2/4 4/5 3/6\n"
    for name, faces in (("one", one), ("two", "mtllib a.mtl\nusemtl a\n" + one.replace("\nf", "\nusemtl b\nf"))):
        (tmp_path / f"{name}.obj").write_text(places + faces)
        source, _ = source_from_file(tmp_path / f"{name}.obj")
        uv = source.uv[np.argsort(source.uv[:, 0, 0])]
        np.testing.assert_allclose(uv[0], [[0, 0], [0.4, 0], [0, 0.4]], atol=1e-6)
        np.testing.assert_allclose(uv[1], [[0.5, 0.5], [0.9, 0.5], [0.5, 0.9]], atol=1e-6)


def test_pictures_on_top_of_each_other_are_put_side_by_side(tmp_path):
    scene = trimesh.Scene([textured(wedge(), (250, 0, 0)), textured(wedge(), (0, 0, 250))])
    scene.export(tmp_path / "two.glb")
    source, notices = source_from_file(tmp_path / "two.glb")
    colours = look_at_middles(source)
    np.testing.assert_allclose(colours[:4], np.broadcast_to([250, 0, 0], (4, 3)), atol=1)
    np.testing.assert_allclose(colours[4:], np.broadcast_to([0, 0, 250], (4, 3)), atol=1)
    assert "side by side" in notices[0]
    assert source.uv.min() >= 0
    assert source.uv.max() <= 1


def test_one_picture_for_several_meshes_is_no_reason_to_move_their_islands(tmp_path):
    trimesh.Scene([textured(wedge(), (9, 9, 9)), textured(wedge(), (9, 9, 9))]).export(tmp_path / "two.glb")
    source, notices = source_from_file(tmp_path / "two.glb")
    assert notices == ()
    np.testing.assert_allclose(source.uv[:4], source.uv[4:])


def test_colours_of_vertices_and_materials(tmp_path):
    mesh = wedge()
    mesh.visual = ColorVisuals(mesh, vertex_colors=np.tile([200, 100, 0, 255], (4, 1)).astype(np.uint8))
    mesh.export(tmp_path / "colours.ply")
    source, _ = source_from_file(tmp_path / "colours.ply")
    np.testing.assert_allclose(look_at_middles(source), np.broadcast_to([200, 100, 0], (4, 3)), atol=1)

    mesh.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=[0.5, 0.0, 1.0, 1.0]))
    mesh.export(tmp_path / "factor.glb")
    source, _ = source_from_file(tmp_path / "factor.glb")
    np.testing.assert_allclose(look_at_middles(source)[0], [188, 0, 255], atol=1)  # 0.5 is a linear colour


def test_a_picture_on_a_second_uv_map_of_a_gltf_file_is_read_with_that(tmp_path):
    files = trimesh.Scene(textured(wedge(), (9, 9, 9))).export(file_type="gltf")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    expected, _ = source_from_file(tmp_path / "model.gltf")
    document = json.loads(files["model.gltf"])
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    attributes["TEXCOORD_1"] = attributes.pop("TEXCOORD_0")
    document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] = 1
    (tmp_path / "model.gltf").write_text(json.dumps(document))
    source, _ = source_from_file(tmp_path / "model.gltf")
    np.testing.assert_allclose(source.uv, expected.uv)


@pytest.mark.parametrize("first", range(6))
def test_a_concave_polygon_of_an_obj_file_keeps_its_outline(tmp_path, first):
    outline = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
    for axes in ("{0} {1} 5", "5 {0} {1}", "{1} 5 {0}"):
        places = "\n".join("v " + axes.format(*point) for point in outline)
        polygon = " ".join(str((first + each) % 6 + 1) for each in range(6))
        (tmp_path / "l.obj").write_text(f"{places}\nf {polygon}\n")
        source, _ = source_from_file(tmp_path / "l.obj")
        corners = source.vertices[source.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(3)  # no triangle outside, none turned over
        assert np.linalg.norm(normals.sum(axis=0)) / 2 == pytest.approx(3)


def test_a_grey_picture_of_16_bits_is_not_white(tmp_path):
    mesh = textured(wedge(), (0, 0, 0))
    mesh.visual.material.baseColorTexture = Image.fromarray(np.full((4, 4), 100 * 257, np.uint16))
    mesh.export(tmp_path / "grey.glb")
    source, _ = source_from_file(tmp_path / "grey.glb")
    np.testing.assert_allclose(look_at_middles(source), 100, atol=1)


def test_a_picture_of_fractions_is_told_instead_of_being_black(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "look.tif")
    middles, _, notices = two_triangles(tmp_path, SQUARE, material="newmtl a\nKd 1 0 0\nmap_Kd look.tif\n")
    np.testing.assert_allclose(middles[0], RED, atol=1)
    assert '"look.tif"' in notices[0]


def test_a_mesh_far_from_the_origin_is_told_to_be_rounded(tmp_path):
    """As those are that are placed on a map of the world."""

    def at(place):
        mesh = in_y_up(wedge())
        mesh.vertices = mesh.vertices * 1.07 + [place, 0, 0]
        (tmp_path / "a.obj").write_text(mesh.export(file_type="obj", digits=12))
        return source_from_file(tmp_path / "a.obj")

    for near in (0, 100):
        assert at(near)[1] == ()
    (notice,) = at(500_000)[1]
    assert notice.startswith("The mesh is so far from the origin that its vertices are rounded there, by up to 0.0")
    for far in (1e8, 1e14):
        with pytest.raises(BadInputError, match="so far from the origin that its shape is lost there: move it nearer"):
            at(far)


def test_nan_is_a_sentence_without_a_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in ("nan", "inf", "1e300"):
            (tmp_path / "a.obj").write_text(f"v {number} 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
            with pytest.raises(BadInputError, match="NaN, infinite or far too large"):
                source_from_file(tmp_path / "a.obj")


def test_only_the_first_buffer_is_in_the_file_itself(tmp_path):
    content = trimesh.Scene([in_y_up(wedge())]).export(file_type="glb")
    length = struct.unpack("<I", content[12:16])[0]
    document = json.loads(content[20 : 20 + length])
    document["buffers"].append(document["buffers"][0])
    for view in document["bufferViews"]:
        view["buffer"] = 1
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = struct.pack("<II", len(text), 0x4E4F534A) + text + content[20 + length :]
    (tmp_path / "a.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(rest)) + rest)
    with pytest.raises(BadInputError, match="damaged"):
        source_from_file(tmp_path / "a.glb")


def test_pictures_are_read_from_the_files_folder_only(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8), (7, 8, 9)).save(tmp_path / "picture.png")
    for where, is_read in (("../picture.png", False), (str(tmp_path / "picture.png"), False), ("near.png", True)):
        Image.new("RGB", (8, 8), (7, 8, 9)).save(tmp_path / "in" / "near.png")
        (tmp_path / "in" / "a.mtl").write_text(f"newmtl a\nmap_Kd {where}\n")
        (tmp_path / "in" / "a.obj").write_text(
            "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl a\nf 1/1 2/2 3/3\n"
        )
        source, _ = source_from_file(tmp_path / "in" / "a.obj")
        assert (source.look is not None) == is_read


def triangle(*lines):
    return "\n".join(["v 0 0 0", "v 1 0 0", "v 0 1 0", *lines])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.fbx", b"1", "no mesh file that can be read"),
        ("a.glb", b"", "is empty"),
        ("a.glb", b"hello, I am no mesh at all", "damaged, or no GLB"),
        ("a.stl", b"solid hello", "no faces|damaged"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 99999999999\nend_header\n", "damaged|no faces"),
        ("a.ply", wedge().export(file_type="ply", encoding="ascii").rsplit(b"\n", 3)[0], "is not complete"),
        ("a.obj", b"hello", "no faces|damaged"),
        ("a.obj", triangle().encode(), "no faces"),
        ("a.obj", triangle("l 1 2").encode(), "no faces"),
        ("a.obj", triangle("v .3 0 0", "f 1 2 4", "f 1 1 2").encode(), "has an area"),
        ("a.obj", triangle("f 0 1 2").encode(), "count from 1"),
        ("a.obj", triangle("f 1 2 9").encode(), "does not exist|damaged"),
        ("a.obj", triangle("f 1 2 3", "v nan 0 0", "f 1 2 4").encode(), "NaN"),
        ("a.obj", triangle("f -1 -2 -4").encode(), "does not exist"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "meshes": []}', "no faces"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "extensionsRequired": ["KHR_draco_mesh_compression"]}', "draco"),
        ("a.gltf", b'{"buffers": [{"uri": "http://127.0.0.1/a.bin", "byteLength": 4}]}', "damaged"),
        ("a.gltf", b"[" * 100_000, "damaged"),
    ],
)
def test_a_file_that_is_no_mesh_gets_a_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError, match=said):
        source_from_file(tmp_path / name)


def test_half_a_file_a_folder_and_no_file(tmp_path):
    content = wedge().export(file_type="glb")
    (tmp_path / "half.glb").write_bytes(content[: len(content) // 2])
    (tmp_path / "folder.glb").mkdir()
    for name in ("half.glb", "folder.glb", "missing.glb", "nul\0.glb"):
        with pytest.raises(BadInputError):
            source_from_file(tmp_path / name)


def quadrants(path):
    """A picture with red at its lower left, green at its lower right, blue at its upper left and white."""
    pixels = np.array([[[0, 0, 255], [255, 255, 255]], [[255, 0, 0], [0, 255, 0]]], np.uint8)
    Image.fromarray(pixels.repeat(16, axis=0).repeat(16, axis=1)).save(path)


def two_triangles(tmp_path, uv, lines="f 1/1 2/2 3/3\nf 2/2 4/4 3/3\n", material="newmtl a\nmap_Kd look.png\n"):
    """The look (2, 3) at the middles of the two triangles of an OBJ file with a picture, its UV map, and notices."""
    quadrants(tmp_path / "look.png")
    (tmp_path / "a.mtl").write_text(material)
    places = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\n" + "".join(f"vt {u} {v}\n" for u, v in uv)
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{places}usemtl a\n{lines}")
    source, notices = source_from_file(tmp_path / "a.obj")
    return look_at_middles(source).round(), source, notices


def square_with_picture(tmp_path, uv, change):
    """A glTF file's square of two triangles with a picture, and notices; `change` what the file says."""
    quadrants(tmp_path / "look.png")
    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], [[0, 1, 2], [1, 3, 2]], process=False)
    mesh.visual = TextureVisuals(uv=uv, material=PBRMaterial(baseColorTexture=Image.open(tmp_path / "look.png")))
    files = trimesh.Scene(mesh).export(file_type="gltf")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    document = json.loads(files["model.gltf"])
    change(document)
    (tmp_path / "model.gltf").write_text(json.dumps(document))
    return source_from_file(tmp_path / "model.gltf")


SQUARE = [(0, 0), (1, 0), (0, 1), (1, 1)]
RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]


@pytest.mark.parametrize(
    ("moves", "middles", "keeps_map"),
    [
        ({"scale": [0.5, 0.5]}, [BLUE, BLUE], False),  # glTF's (0, 0) is at the upper left
        ({"scale": [0.5, 0.5], "offset": [0.5, 0.5]}, [GREEN, GREEN], False),
        # the extension's own example: the lower left quadrant, turned
        ({"scale": [0.5, 0.5], "offset": [0, 1], "rotation": np.pi / 2}, [RED, RED], False),
        ({"offset": [0.5, 0.0]}, [GREEN, BLUE], True),  # it leaves the square, where a painted picture would repeat
        ({"offset": [7.0, 7.0], "scale": [0.5, 0.5], "texCoord": 1}, [BLUE, BLUE], True),
    ],
)
def test_a_picture_of_a_gltf_file_lies_where_its_texture_transform_says(tmp_path, moves, middles, keeps_map):
    def move(document):
        picture = document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
        picture["extensions"] = {"KHR_texture_transform": moves}
        attributes = document["meshes"][0]["primitives"][0]["attributes"]
        attributes["TEXCOORD_1"] = attributes["TEXCOORD_0"]

    source, notices = square_with_picture(tmp_path, SQUARE, move)
    assert notices == ()
    np.testing.assert_allclose(look_at_middles(source), middles, atol=2)
    assert (
        np.allclose(np.sort(source.uv.reshape(-1)), np.sort(np.array(SQUARE)[[0, 1, 2, 1, 3, 2]].reshape(-1)))
        == keeps_map
    )


BEYOND = [(0.75, 0.1), (2.25, 0.1), (0.75, 0.4), (2.25, 0.4)]
"""A map that reaches to the right of the picture, where its triangles have their middles: at u = 1.25 and 1.75."""

REPEAT, CLAMP, MIRROR = 10497, 33071, 33648


@pytest.mark.parametrize(
    ("wrap", "middles"),
    [(None, [RED, GREEN]), (REPEAT, [RED, GREEN]), (CLAMP, [GREEN, GREEN]), (MIRROR, [GREEN, RED])],
)
@pytest.mark.parametrize("is_upwards", [False, True])
def test_beyond_its_edges_a_picture_of_a_gltf_file_goes_on_as_its_sampler_says(tmp_path, wrap, middles, is_upwards):
    uv = [(v, u) for u, v in BEYOND] if is_upwards else BEYOND
    if is_upwards:
        middles = [BLUE if each == GREEN else each for each in middles]

    def sample(document):
        if wrap is not None:
            document["samplers"] = [{}, {"wrapT" if is_upwards else "wrapS": wrap}]
            document["textures"][0]["sampler"] = 1

    source, notices = square_with_picture(tmp_path, uv, sample)
    np.testing.assert_allclose(look_at_middles(source), middles, atol=2)
    assert ("made smaller" in " ".join(notices)) == (wrap in (CLAMP, MIRROR))
    assert (source.uv.max() <= 1.0) == (wrap in (CLAMP, MIRROR))


def test_the_pictures_of_an_obj_file_are_found_and_lie_as_its_materials_say(tmp_path):
    (tmp_path / "pictures of it").mkdir()
    quadrants(tmp_path / "pictures of it" / "look.png")
    material = "newmtl a\nmap_Kd -clamp off -s .5 .5 1 -o 0 .5 -mm 0 1 pictures of it\\look.png\n"
    middles, _, notices = two_triangles(tmp_path, SQUARE, material=material)
    np.testing.assert_allclose(middles, [BLUE, BLUE], atol=2)
    assert notices == ()


@pytest.mark.parametrize(("clamp", "middles"), [("on", [GREEN, GREEN]), ("off", [RED, GREEN])])
def test_a_picture_of_an_obj_file_is_clamped_where_its_material_says(tmp_path, clamp, middles):
    material = f"newmtl a\nmap_Kd -clamp {clamp} look.png\n"
    np.testing.assert_allclose(two_triangles(tmp_path, BEYOND, material=material)[0], middles, atol=2)


@pytest.mark.parametrize("bytes_left", [0, 60, None])
def test_a_picture_that_is_missing_or_damaged_is_told(tmp_path, bytes_left):
    quadrants(tmp_path / "wood.png")
    content = (tmp_path / "wood.png").read_bytes()
    if bytes_left is None:
        (tmp_path / "wood.png").unlink()
    else:
        (tmp_path / "wood.png").write_bytes(content[:bytes_left])
    material = "newmtl a\nKd 1 0 0\nmap_Kd wood.png\n"
    middles, source, notices = two_triangles(tmp_path, SQUARE, material=material)
    assert len(notices) == 1
    assert '"wood.png"' in notices[0]
    assert source.uv is not None
    np.testing.assert_allclose(middles[0], RED, atol=1)

    mesh = textured(wedge(), (9, 9, 9))
    files = trimesh.Scene(mesh).export(file_type="gltf")
    for name, stored in files.items():
        (tmp_path / name).write_bytes(stored)
    document = json.loads(files["model.gltf"])
    document["images"][0] = {"uri": "wood.png"}
    (tmp_path / "model.gltf").write_text(json.dumps(document))
    source, notices = source_from_file(tmp_path / "model.gltf")
    assert len(notices) == 1
    assert '"wood.png"' in notices[0]
    assert source.look is None


def test_a_picture_without_uv_coordinates_and_a_material_without_a_file_are_told(tmp_path):
    _, _, notices = two_triangles(tmp_path, [], "f 1 2 3\nusemtl b\nf 2 4 3\n")
    assert len(notices) == 2
    assert '"look.png"' in notices[0]
    assert '"b"' in notices[1]


@pytest.mark.parametrize("corners", ["2 4 3", "2//1 4//1 3//1", "2 4/4 3/3"])
def test_faces_of_an_obj_file_without_uv_coordinates_leave_the_others_their_look(tmp_path, corners):
    lines = f"vn 0 0 1\nf 1/-4 2/2 3/3\nf {corners}\n"
    middles, source, notices = two_triangles(tmp_path, SQUARE, lines)
    np.testing.assert_allclose(middles[0], RED, atol=2)
    assert middles[1] == pytest.approx(round(255 * UNKNOWN), abs=2)
    assert '"look.png"' in notices[0]
    assert "no UV map" in notices[1]
    along, across = (source.uv[:, corner] - source.uv[:, 0] for corner in (1, 2))
    assert (np.abs(along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]) > 0.01).all()  # both can be painted


def as_gltf(tmp_path, change):
    """A wedge in a glTF file whose description was changed."""
    files = trimesh.Scene([in_y_up(wedge())]).export(file_type="gltf")
    document = json.loads(files["model.gltf"])
    change(document)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "model.gltf").write_text(json.dumps(document))
    return source_from_file(tmp_path / "model.gltf")


def below_a_camera(document):
    document["cameras"] = [{"type": "perspective", "perspective": {"yfov": 1.0, "znear": 0.1, "aspectRatio": 1.0}}]
    document["nodes"].append({"camera": 0, "children": [document["scenes"][0]["nodes"][0]]})
    document["scenes"][0]["nodes"] = [len(document["nodes"]) - 1]


def without_a_scene(document):
    del document["scene"], document["scenes"]


@pytest.mark.parametrize("change", [below_a_camera, without_a_scene])
def test_nothing_is_lost_below_a_camera_or_without_a_scene(tmp_path, change):
    source, notices = as_gltf(tmp_path, change)
    assert len(source.faces) == 4
    assert notices == ()


def test_colours_of_16_bits_are_no_brighter_than_those_of_8(tmp_path):
    mesh = in_y_up(wedge())
    mesh.visual = ColorVisuals(mesh, vertex_colors=np.full((4, 4), 0x5A, np.uint8))
    files = trimesh.Scene([mesh]).export(file_type="gltf")
    document = json.loads(files["model.gltf"])
    colours = document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]
    of_8_bits = document["accessors"][colours]
    document["accessors"][colours] = {**of_8_bits, "componentType": 5123, "bufferView": len(document["bufferViews"])}
    document["bufferViews"].append({"buffer": len(document["buffers"]), "byteLength": 32})
    document["buffers"].append({"uri": "colours.bin", "byteLength": 32})
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "colours.bin").write_bytes(np.full(16, 0x5A10, "<u2").tobytes())
    before, _ = source_from_file(tmp_path / "model.gltf")
    (tmp_path / "model.gltf").write_text(json.dumps(document))
    source, _ = source_from_file(tmp_path / "model.gltf")
    np.testing.assert_allclose(source.look_corners.astype(int), before.look_corners, atol=1)


OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nv 0 0 5\nv 1 0 5\nv 0 1 5\nf 4 5 6\n"


@pytest.mark.parametrize(
    "content",
    [
        OBJ.replace("f 1 2 3", "f -3 -2 -1").replace("f 4 5 6", "f  -3 -2 6").encode(),
        b"\xef\xbb\xbf" + OBJ.encode(),
        OBJ.encode("utf-16"),
        OBJ.replace("\n", "\r\n").encode(),
        OBJ.replace("\n", "\r").encode(),
        OBJ.replace("f 4 5 6", "  f 4 5 6").encode(),
        OBJ.replace("f 4 5 6", "f\t4\t5\t6").encode(),
        OBJ.replace("f 4 5 6", "f 4 5 \\\n6").encode(),
        OBJ.replace("f 4 5 6", "f 4 5 6 # the second one").encode(),
    ],
    ids=["backwards", "mark", "utf-16", "crlf", "cr", "indented", "tabs", "continued", "comment"],
)
def test_an_obj_file_is_the_same_however_its_lines_are_written(tmp_path, content):
    (tmp_path / "plain.obj").write_text(OBJ)
    (tmp_path / "other.obj").write_bytes(content)
    plain, other = (source_from_file(tmp_path / f"{name}.obj")[0] for name in ("plain", "other"))
    np.testing.assert_array_equal(other.vertices[other.faces], plain.vertices[plain.faces])
