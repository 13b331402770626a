import base64
import json
import struct

import numpy as np
import pytest
import torch
from gltf_files import SQUARE, GltfFile

from sdi_engine.errors import BadInputError
from sdi_engine.mesh_files.mesh_file import source_from_file
from sdi_engine.surface.look import Look

RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
HALF = 188
"""sRGB of the linear 0.5."""

QUARTER_TURN = [0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)]
"""About glTF's Z, counter-clockwise."""


def read(tmp_path, file):
    return source_from_file(file.write(tmp_path / "a.gltf"))


def places(source):
    """The triangles' corners in glTF's axes."""
    return source.vertices[source.faces][..., [0, 2, 1]] * [1, 1, -1]


def normals(source):
    corners = places(source)
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def looks(source):
    faces = torch.arange(len(source.faces))
    return Look(source, torch.device("cpu")).colours(faces, torch.full((len(faces), 3), 1 / 3)).numpy() * 255


TWO = np.array(SQUARE, float)[np.array([[0, 1, 2], [1, 3, 2]])]


# ---- where vertices are


def moved_by_two_joints(file, joints, weights, inverse=None):
    """A square whose node is far away, held by joints that stand still and two to the right."""
    names = {"JOINTS_0": file.array(joints, "u1"), "WEIGHTS_0": weights}
    mesh = file.mesh(**names)
    one = file.node()
    other = file.node(is_root=False, translation=[2, 0, 0], rotation=QUARTER_TURN)
    file.document["nodes"][one]["children"] = [other]
    skin = {"joints": [one, other]}
    if inverse is not None:
        skin["inverseBindMatrices"] = file.array(inverse)
    file.node(mesh=mesh, skin=file.add("skins", skin), translation=[100, 0, 0], scale=[9, 9, 9])


def test_a_skin_places_vertices_and_its_node_does_not(tmp_path):
    file = GltfFile()
    still = np.eye(4).reshape(-1)
    back = np.eye(4)
    back[0, 3] = -1.0  # what leads from the mesh to the joint; files have the columns one after the other
    weights = file.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0]])
    moved_by_two_joints(file, [[0, 1, 0, 0]] * 4, weights, [still, back.T.reshape(-1)])
    source, notices = read(tmp_path, file)
    second = np.array([2.0, 0.0, 0.0])  # (1, 0, 0), back by one, turned, and moved
    third = (np.array([1.0, 1.0, 0.0]) + np.array([1.0, 0.0, 0.0])) / 2
    np.testing.assert_allclose(places(source)[1], [second, third, [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(places(source)[0], [[0, 0, 0], second, [0, 1, 0]], atol=1e-6)
    assert notices == ()


def test_weights_of_bytes_and_a_second_set_of_joints(tmp_path):
    file = GltfFile()
    weights = file.array([[0, 0, 0, 0]] * 4, "u1", normalized=True)
    moved_by_two_joints(file, [[0, 0, 0, 0]] * 4, weights)
    attributes = file.document["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_1"] = file.array([[1, 0, 0, 0]] * 4, "u2")
    attributes["WEIGHTS_1"] = file.array([[51, 0, 0, 0]] * 4, "u1", normalized=True)  # they do not add up to one
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(places(source)[0], [[2, 0, 0], [2, 1, 0], [1, 0, 0]], atol=1e-6)


def test_mirroring_joints_do_not_turn_triangles_over(tmp_path):
    file = GltfFile()
    moved_by_two_joints(file, [[0, 0, 0, 0]] * 4, file.array([[1, 0, 0, 0]] * 4))
    file.document["nodes"][0]["scale"] = [-1, 1, 1]
    source, _ = read(tmp_path, file)
    assert places(source)[..., 0].min() == -1
    assert normals(source)[:, 2].tolist() == [1, 1]


@pytest.mark.parametrize("where", ["mesh", "node"])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_morph_targets_move_vertices_by_their_weights(tmp_path, where, is_sparse):
    file = GltfFile()
    if is_sparse:
        sparse = {"count": 1, "indices": {"bufferView": file.view(b"\3"), "componentType": 5121}}
        sparse["values"] = {"bufferView": file.view(np.array([0, 0, 4], "<f4").tobytes())}
        moves = file.add("accessors", {"componentType": 5126, "count": 4, "type": "VEC3", "sparse": sparse})
    else:
        moves = file.array([[0, 0, 0]] * 3 + [[0, 0, 4]])
    other = file.array([[7, 7, 7]] * 4)
    mesh = file.mesh(targets=[{"POSITION": other}, {"POSITION": moves}], weights=[0, 0.5 if where == "mesh" else 0])
    file.node(mesh=mesh, **({"weights": [0, 0.5]} if where == "node" else {}))
    source, notices = read(tmp_path, file)
    np.testing.assert_allclose(places(source)[1], [[1, 0, 0], [1, 1, 2], [0, 1, 0]], atol=1e-6)
    assert notices == ()


def test_quantized_vertices_and_uv_coordinates(tmp_path):
    file = GltfFile()
    mesh = file.mesh(material={}, TEXCOORD_0=file.array(np.array(SQUARE)[:, :2] * 255, "u1", normalized=True))
    attributes = file.document["meshes"][0]["primitives"][0]["attributes"]
    attributes["POSITION"] = file.array(np.array(SQUARE) * 32767, "i2", normalized=True)
    file.node(mesh=mesh, scale=[3, 3, 3])
    file.document["extensionsRequired"] = ["KHR_mesh_quantization"]
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(places(source), TWO * 3, atol=1e-6)
    np.testing.assert_allclose(source.uv[0], [[0, 1], [1, 1], [0, 0]], atol=1e-6)


def test_vertices_that_lie_between_others_and_sparse_ones(tmp_path):
    file = GltfFile()
    mesh = file.mesh()
    rows = np.zeros((4, 5), "<f4")
    rows[:, 2:] = SQUARE
    view = file.view(rows.tobytes(), byteStride=20)
    sparse = {"count": 1, "indices": {"bufferView": file.view(b"\0"), "componentType": 5121}}
    sparse["values"] = {"bufferView": file.view(np.array([-1, -1, 0], "<f4").tobytes())}
    file.document["accessors"][0].update(bufferView=view, byteOffset=8, sparse=sparse)
    file.node(mesh=mesh)
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(places(source)[0], [[-1, -1, 0], [1, 0, 0], [0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "indices"), [(5, [0, 1, 2, 3]), (6, [0, 1, 3, 2]), (4, [0, 1, 2, 1, 3, 2, 0]), (5, None)]
)
def test_strips_and_fans_are_triangles(tmp_path, mode, indices):
    file = GltfFile()
    file.node(mesh=file.mesh(indices, mode=mode))
    source, _ = read(tmp_path, file)
    assert normals(source).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_what_stands_below_lines_keeps_its_place(tmp_path):
    file = GltfFile()
    below = file.node(is_root=False, mesh=file.mesh())
    file.node(mesh=file.mesh([0, 1], mode=3), translation=[5, 0, 0], children=[below])
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(places(source), TWO + np.array([5, 0, 0]))


def test_instances_of_a_mesh_stand_where_they_are_said_to(tmp_path):
    file = GltfFile()
    attributes = {
        "TRANSLATION": file.array([[0, 0, 0], [3, 0, 0]]),
        "ROTATION": file.array([[0, 0, 0, 1], QUARTER_TURN]),
        "SCALE": file.array([[1, 1, 1], [1, 1, 2]]),
    }
    node = file.node(mesh=file.mesh(), translation=[0, 0, 1])
    file.document["nodes"][node]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    file.document["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(places(source)[:2], TWO + np.array([0, 0, 1]), atol=1e-6)
    np.testing.assert_allclose(places(source)[2], [[3, 0, 1], [3, 1, 1], [2, 0, 1]], atol=1e-6)


def test_a_matrix_has_its_columns_one_after_the_other_and_parents_come_first(tmp_path):
    file = GltfFile()
    child = file.node(is_root=False, mesh=file.mesh(), matrix=[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 4, 0, 0, 1])
    file.node(children=[child], scale=[2, 1, 1], rotation=QUARTER_TURN)
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(places(source)[0], [[0, 8, 0], [0, 10, 0], [-1, 8, 0]], atol=1e-6)


def test_meshes_of_other_scenes_and_hidden_ones_are_left_out(tmp_path):
    file = GltfFile()
    mesh = file.mesh()
    file.node(mesh=mesh)
    hidden = file.node(mesh=mesh)
    file.document["nodes"][hidden]["extensions"] = {"KHR_node_visibility": {"visible": False}}
    source, notices = read(tmp_path, file)
    assert len(source.faces) == 2
    assert notices == ()
    file.document["scenes"].append({"nodes": [file.node(is_root=False, mesh=mesh)]})
    source, notices = read(tmp_path, file)
    assert len(source.faces) == 2
    assert "more than one scene" in notices[0]


# ---- what they look like

FLAT_UV = [[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]]


def painted(file, material, uv=FLAT_UV, **attributes):
    """A square with a material and a UV map."""
    file.node(mesh=file.mesh(material=material, TEXCOORD_0=file.array(uv), **attributes))


def plain(texture, **more):
    return {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}, **more}}


def test_colours_of_vertices_and_the_factor_multiply_the_picture(tmp_path):
    file = GltfFile()
    colours = file.array([[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]])
    painted(file, plain(file.picture(WHITE), baseColorFactor=[1, 1, 0.5, 1]), COLOR_0=colours)
    source, notices = read(tmp_path, file)
    np.testing.assert_allclose(source.uv[0], np.array(FLAT_UV)[:3] * [1, -1] + [0, 1], atol=1e-6)
    third, two_thirds = 156, 213  # sRGB of these linear values
    np.testing.assert_allclose(looks(source), [[two_thirds, two_thirds, HALF], [third, third, HALF]], atol=2)
    assert notices == ()


def test_one_colour_for_all_vertices_is_a_factor(tmp_path):
    file = GltfFile()
    painted(file, plain(file.picture(WHITE)), COLOR_0=file.array([[128, 255, 0]] * 4, "u1", normalized=True))
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(looks(source), [[HALF, 255, 0]] * 2, atol=2)


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
@pytest.mark.parametrize("corners", [(0, 1, 2, 3), (1,), (0,)])
def test_a_picture_that_no_uv_coordinates_lead_to_is_told(tmp_path, lost, corners):
    file = GltfFile()
    uv = np.array(FLAT_UV)
    uv[list(corners), 0] = lost
    painted(file, plain(file.picture(WHITE), baseColorFactor=[0, 1, 0, 1]), uv)
    source, notices = read(tmp_path, file)
    assert notices[0].startswith("Plain colours take the place of pictures for which there are no UV coordinates")
    if corners != (0,):  # no face has all of its own
        assert source.uv is None
        np.testing.assert_allclose(looks(source), [GREEN, GREEN], atol=2)
    else:
        np.testing.assert_allclose(looks(source)[0], GREEN, atol=2)  # those that have come first


@pytest.mark.parametrize("is_alike", [True, False])
def test_places_that_share_the_picture_and_not_the_colours_get_a_new_map(tmp_path, is_alike):
    file = GltfFile()
    points = [(*SQUARE[0],), SQUARE[1], SQUARE[2], (5, 0, 0), (6, 0, 0), (5, 1, 0)]
    tints = [[1, 1, 1], [1, 1, 1], [1, 0, 0]] + ([[1, 1, 1], [1, 1, 1], [1, 0, 0]] if is_alike else [[0, 0, 1]] * 3)
    names = {"TEXCOORD_0": file.array(FLAT_UV[:3] * 2), "COLOR_0": file.array(tints)}
    file.node(mesh=file.mesh(range(6), points, material=plain(file.picture(WHITE)), **names))
    source, notices = read(tmp_path, file)
    assert bool(notices) != is_alike
    first, second = looks(source)
    np.testing.assert_allclose(first, [255, 213, 213], atol=3)
    np.testing.assert_allclose(second, first if is_alike else BLUE, atol=3)


GLOSSY = "KHR_materials_pbrSpecularGlossiness"


@pytest.mark.parametrize("has_picture", [True, False])
@pytest.mark.parametrize("said", [{}, {"specularFactor": [0.04] * 3}])
def test_glossy_materials_that_are_no_metals_have_their_diffuse_colour(tmp_path, has_picture, said):
    file = GltfFile()
    glossy = {"diffuseFactor": [0.5, 1.0, 0.0, 1.0], "glossinessFactor": 0.9, **said}
    if has_picture:
        glossy["diffuseTexture"] = {"index": file.picture([255, 128, 255])}
    painted(file, {"extensions": {GLOSSY: glossy}})
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(looks(source), [[HALF, 128 if has_picture else 255, 0]] * 2, atol=2)


@pytest.mark.parametrize("diffuse", ["factor", "texture"])
@pytest.mark.parametrize("specular", ["factor", "texture"])
def test_glossy_metals_are_not_black(tmp_path, diffuse, specular):
    file = GltfFile()
    black = {"diffuseTexture": {"index": file.picture([0, 0, 0])}} if diffuse == "texture" else {}
    gold = {"specularFactor": [1.0, 0.5, 0.0]}
    if specular == "texture":
        gold = {"specularFactor": [1.0, 0.5, 1.0], "specularGlossinessTexture": {"index": file.picture([255, 255, 0])}}
    painted(file, {"extensions": {GLOSSY: {"diffuseFactor": [0, 0, 0, 1], **black, **gold}}})
    source, notices = read(tmp_path, file)
    np.testing.assert_allclose(looks(source), [[255, HALF, 0]] * 2, atol=2)
    assert notices == ()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_specular_picture_that_is_left_out_is_told(tmp_path, is_there):
    file = GltfFile()
    shine = {"index": file.picture(WHITE)}
    if is_there:
        shine["extensions"] = {"KHR_texture_transform": {"scale": [2.0, 2.0]}}
    else:
        file.document["images"][0] = {"uri": "shine.png"}
    glossy = {"diffuseTexture": {"index": file.picture(GREEN)}, "specularGlossinessTexture": shine}
    painted(file, {"extensions": {GLOSSY: glossy}})
    source, notices = read(tmp_path, file)
    np.testing.assert_allclose(looks(source), [GREEN] * 2, atol=2)
    assert len(notices) == 1
    assert "Metals may be too dark" in notices[0]
    assert f'"{"image 0" if is_there else "shine.png"}"' in notices[0]


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_picture_of_an_extension_comes_first_and_the_other_in_its_stead(tmp_path, is_readable):
    file = GltfFile()
    texture = file.picture(RED)
    if is_readable:
        other = file.picture(BLUE, "WEBP")
        image = file.document["textures"][other]["source"]
    else:
        image = file.add("images", {"bufferView": file.view(b"\xabKTX 20\xbb\r\n\x1a\n"), "mimeType": "image/ktx2"})
    name = "EXT_texture_webp" if is_readable else "KHR_texture_basisu"
    file.document["textures"][texture]["extensions"] = {name: {"source": image}}
    painted(file, {**plain(texture), "alphaMode": "BLEND", "extensions": {"KHR_materials_unlit": {}}})
    source, notices = read(tmp_path, file)
    np.testing.assert_allclose(looks(source), [BLUE if is_readable else RED] * 2, atol=2)
    assert notices == ()


def test_a_file_whose_pictures_alone_cannot_be_read_keeps_its_shape(tmp_path):
    file = GltfFile()
    image = file.add("images", {"bufferView": file.view(b"\xabKTX 20\xbb\r\n\x1a\n"), "mimeType": "image/ktx2"})
    texture = file.add("textures", {"extensions": {"KHR_texture_basisu": {"source": image}}})
    file.document["extensionsRequired"] = ["KHR_texture_basisu"]
    painted(file, plain(texture))
    source, notices = read(tmp_path, file)
    assert len(source.faces) > 0
    assert len(notices) == 1
    assert "pictures that are missing or cannot be read" in notices[0]


def test_files_beside_have_encoded_names(tmp_path):
    file = GltfFile()
    painted(file, plain(file.picture(GREEN)))
    for number, buffer in enumerate(file.document["buffers"]):
        (tmp_path / f"part {number} ü.bin").write_bytes(base64.b64decode(buffer["uri"].split(",")[1]))
        buffer["uri"] = f"part%20{number}%20%C3%BC.bin"
    source, _ = read(tmp_path, file)
    np.testing.assert_allclose(looks(source), [GREEN] * 2, atol=2)
    (tmp_path / "part 0 ü.bin").unlink()
    with pytest.raises(BadInputError, match=r"needs the file .part%200"):
        read(tmp_path, file)


# ---- what is refused


def compressed_by_draco(file):
    file.document["accessors"][0].pop("bufferView")
    file.document["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": {}}


def compressed_by_meshopt(file):
    file.document["extensionsRequired"] = ["EXT_meshopt_compression"]


def of_several_levels(file):
    file.document["extensionsRequired"] = ["MSFT_lod"]


def below_itself(file):
    file.document["nodes"][0]["children"] = [0]


def twice_below(file):
    child = file.node(is_root=False)
    file.document["nodes"][0]["children"] = [child, child]


def cut_off(file):
    file.document["bufferViews"][0]["byteLength"] += 1


def too_many_vertices(file):
    file.document["accessors"][0]["count"] += 1


def far_too_many_vertices(file):
    file.document["accessors"][0]["count"] = 99999999999
    file.document["accessors"][0].pop("bufferView")


def an_index_of_no_vertex(file):
    file.document["accessors"][0]["count"] -= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (compressed_by_draco, "without compression"),
        (compressed_by_meshopt, "without compression"),
        (of_several_levels, "without it"),
        (below_itself, "damaged"),
        (twice_below, "damaged"),
        (cut_off, "not complete"),
        (too_many_vertices, "damaged"),
        (far_too_many_vertices, "more than"),
        (an_index_of_no_vertex, "does not exist"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path, change, said):
    file = GltfFile()
    file.node(mesh=file.mesh())
    change(file)
    with pytest.raises(BadInputError, match=said):
        read(tmp_path, file)


def test_a_glb_file_may_have_chunks_that_nobody_knows(tmp_path):
    file = GltfFile()
    file.node(mesh=file.mesh(None, points=np.array(SQUARE)[[0, 1, 2]]))
    content = base64.b64decode(file.document["buffers"][0].pop("uri").split(",")[1])
    text = json.dumps(file.document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", 4, 0x12345678) + b"what"
    chunks += struct.pack("<II", len(content), 0x004E4942) + content
    (tmp_path / "a.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    source, _ = source_from_file(tmp_path / "a.glb")
    np.testing.assert_allclose(places(source), TWO[:1])
