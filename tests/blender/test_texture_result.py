"""Textures on objects of the scene: what they change, and what comes back."""

import io

import numpy as np
import pytest
from made_jobs import PROMPT, counts, make_texture_job


@pytest.fixture
def cube(bpy, extension):
    return bpy.data.objects["Cube"]


@pytest.fixture
def texture(bpy, extension, results):
    """Make a finished job for an object and put its texture there; returns what `apply` does."""

    def make_and_apply(thing, **how):
        folder = make_texture_job(extension, bpy, results, thing, **how)
        return extension.scene.texture_result.apply(bpy.context, thing, folder)

    return make_and_apply


def materials(thing):
    return [slot.material.name if slot.material else None for slot in thing.material_slots]


def slots_of(thing):
    return [polygon.material_index for polygon in thing.data.polygons]


def seen_on(thing):
    """The name of the material that each face shows."""
    return [materials(thing)[slot] for slot in slots_of(thing)]


def nodes_of(material):
    by_kind = {node.bl_idname: node for node in material.node_tree.nodes}
    return by_kind["ShaderNodeBsdfPrincipled"], by_kind["ShaderNodeTexImage"], by_kind["ShaderNodeUVMap"]


def select(thing, *polygons):
    for polygon in thing.data.polygons:
        polygon.select = polygon.index in polygons


def test_the_new_material_has_the_packed_picture_on_the_objects_uv_map(cube, texture):
    cube.data.uv_layers.active.name = "Mine"
    applied = texture(cube)
    assert applied.thing == cube
    assert applied.notices == []
    (slot,) = cube.material_slots
    assert slot.material.name == PROMPT
    shader, picture, place = nodes_of(slot.material)
    assert shader.inputs["Base Color"].links[0].from_node == picture
    assert picture.inputs["Vector"].links[0].from_node == place
    assert place.uv_map == "Mine"
    assert picture.image.packed_file is not None
    assert picture.image.colorspace_settings.name == "sRGB"
    assert slot.material["sdi_prompt"] == PROMPT
    assert slot.material.diffuse_color[0] == pytest.approx((200 / 255) ** 2.2, abs=0.02)
    assert "sdi_prompt" not in cube


def test_materials_of_before_come_back_and_the_new_ones_again(bpy, extension, cube, texture):
    looks = extension.scene.looks
    mesh = cube.data
    for name in ("Second", "Third"):
        mesh.materials.append(bpy.data.materials.new(name))
    for polygon in mesh.polygons:
        polygon.material_index = polygon.index % 3
    cube.material_slots[1].link = "OBJECT"
    cube.material_slots[1].material = bpy.data.materials.new("On the object")
    before = materials(cube), slots_of(cube), [slot.link for slot in cube.material_slots]
    texture(cube)
    assert materials(cube) == [PROMPT] * 3
    looks.show(cube, looks.before(cube))
    assert (materials(cube), slots_of(cube), [slot.link for slot in cube.material_slots]) == before
    cube.data.polygons[0].material_index = 2  # a change while the look is shown is part of it
    looks.show(cube, looks.last_of_ours(cube))
    assert materials(cube) == [PROMPT] * 3
    looks.show(cube, looks.before(cube))
    assert materials(cube) == before[0]
    assert slots_of(cube) == [2, *before[1][1:]]


def test_a_mesh_without_materials_has_none_again(extension, cube, texture):
    cube.data.materials.clear()
    texture(cube)
    assert materials(cube) == [PROMPT]
    extension.scene.looks.show(cube, 0)
    assert materials(cube) == []


def test_only_selected_faces_get_it(extension, cube, texture):
    select(cube, 1, 4)
    texture(cube, only_selected=True)
    assert materials(cube) == ["Material", PROMPT]
    assert slots_of(cube) == [0, 1, 0, 0, 1, 0]
    extension.scene.looks.show(cube, 0)
    assert (materials(cube), slots_of(cube)) == (["Material"], [0] * 6)
    extension.scene.looks.show(cube, 1)
    assert (materials(cube), slots_of(cube)) == (["Material", PROMPT], [0, 1, 0, 0, 1, 0])


@pytest.mark.parametrize("has_slot", [True, False])
def test_faces_of_a_slot_that_is_not_there_keep_the_look_that_they_have(extension, cube, texture, has_slot):
    """Blender shows the last one on them, which the slot of the texture must not become."""
    if not has_slot:
        cube.data.materials.clear()
    for polygon in cube.data.polygons:
        polygon.material_index = 5
    select(cube, 1, 4)
    texture(cube, only_selected=True)
    assert materials(cube) == ["Material" if has_slot else None, PROMPT]
    assert slots_of(cube) == [0, 1, 0, 0, 1, 0]
    extension.scene.looks.show(cube, 0)
    assert materials(cube) == ["Material"] * has_slot


def test_a_second_texture_of_the_same_faces_takes_the_slot_of_the_first(cube, texture):
    cube.data.materials.clear()
    select(cube, 1)
    texture(cube, only_selected=True)
    texture(cube, name="job-2", prompt="blue", only_selected=True)
    assert materials(cube) == [None, "blue"]
    select(cube, 1, 2)
    texture(cube, name="job-3", prompt="green", only_selected=True)
    assert materials(cube) == [None, "green"]
    select(cube, 2)
    texture(cube, name="job-4", prompt="grey", only_selected=True)
    assert materials(cube) == [None, "green", "grey"]
    assert slots_of(cube) == [0, 1, 2, 0, 0, 0]


def test_other_users_of_the_mesh_keep_their_look(bpy, extension, cube, texture):
    other = bpy.data.objects.new("Other", cube.data)
    bpy.context.collection.objects.link(other)
    texture(cube)
    assert (materials(cube), materials(other)) == ([PROMPT], ["Material"])
    assert cube.data == other.data
    select(other, 0)
    applied = texture(other, name="job-2", prompt="blue", only_selected=True)
    assert "mesh of its own" in applied.notices[0]
    assert (materials(cube), materials(other)) == ([PROMPT], ["Material", "blue"])
    assert set(slots_of(cube)) == {0}
    extension.scene.looks.show(cube, 0)
    assert materials(cube) == ["Material"]


@pytest.mark.parametrize("slots", [1, 2])
def test_a_look_of_one_object_moves_no_faces_of_others_that_use_the_mesh(bpy, extension, cube, texture, slots):
    for number in range(slots - 1):
        cube.data.materials.append(bpy.data.materials.new(f"Further {number}"))
        cube.data.polygons[0].material_index = cube.data.polygons[1].material_index = 1
    before = seen_on(cube)
    select(cube, 1, 4)
    texture(cube, only_selected=True)
    textured = seen_on(cube)
    other = cube.copy()
    bpy.context.collection.objects.link(other)
    extension.scene.looks.show(other, 0)
    assert (seen_on(cube), seen_on(other)) == (textured, before)
    extension.scene.looks.show(other, 1)
    assert (seen_on(cube), seen_on(other)) == (textured, textured)
    extension.scene.looks.show(cube, 0)
    assert (seen_on(cube), seen_on(other)) == (before, textured)


def test_a_new_uv_map_is_a_further_one(bpy, cube, texture):
    new = np.random.default_rng(0).random((12, 3, 2))
    applied = texture(cube, new_uv=new)
    layers = cube.data.uv_layers
    assert [layer.name for layer in layers] == ["UVMap", "SDI"]
    assert nodes_of(cube.material_slots[0].material)[2].uv_map == "SDI"
    cube.data.calc_loop_triangles()
    loops = [loop for triangle in cube.data.loop_triangles for loop in triangle.loops]
    written = {}
    for loop, uv in zip(loops, new.reshape(-1, 2), strict=True):
        written[loop] = uv
    for loop, uv in written.items():
        assert tuple(layers["SDI"].uv[loop].vector) == pytest.approx(tuple(uv), abs=1e-6)
    assert applied.notices == []
    texture(cube, name="job-2", new_uv=new)
    assert [layer.name for layer in layers] == ["UVMap", "SDI"], "the same map is not added again"


def test_modifiers_that_keep_the_uv_map_stay(cube, texture):
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 1
    applied = texture(cube)
    assert (materials(cube), applied.notices) == ([PROMPT], [])
    assert len(cube.modifiers) == 1


def test_selected_faces_are_found_through_modifiers(cube, texture):
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 1
    select(cube, 2)
    texture(cube, only_selected=True)
    assert slots_of(cube) == [0, 0, 1, 0, 0, 0]
    assert not [each.name for each in cube.data.attributes if each.name.startswith("sdi_polygon")]


def test_materials_that_modifiers_give_faces_are_told(bpy, cube, texture):
    tree = bpy.data.node_groups.new("Paint", "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    first, paint, last = (
        tree.nodes.new(kind) for kind in ("NodeGroupInput", "GeometryNodeSetMaterial", "NodeGroupOutput")
    )
    paint.inputs["Material"].default_value = bpy.data.materials.new("Of the node")
    tree.links.new(first.outputs[0], paint.inputs[0])
    tree.links.new(paint.outputs[0], last.inputs[0])
    cube.modifiers.new("Nodes", "NODES").node_group = tree
    (notice,) = texture(cube).notices
    assert "materials of their own" in notice
    cube.modifiers.clear()
    cube.modifiers.new("Array", "ARRAY")
    bpy.context.collection.objects.link(cube.copy())  # so that its slots are linked to the object
    assert texture(cube, name="job-2").notices == []


def test_a_new_uv_map_behind_modifiers_is_on_a_copy(bpy, extension, cube, texture):
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 1
    cube.data.uv_layers.remove(cube.data.uv_layers[0])
    cube.location.x = 2.0
    applied = texture(cube, new_uv=np.zeros((48, 3, 2)))
    assert "with the modifiers applied" in applied.notices[0]
    copy = applied.thing
    assert copy.name == "Cube (textured)"
    assert (len(copy.modifiers), len(copy.data.polygons)) == (0, 24)
    assert materials(copy) == [PROMPT]
    assert copy.location.x == 2.0
    assert copy.data.uv_layers.active.name == "SDI"
    assert (materials(cube), len(cube.data.polygons)) == (["Material"], 6)
    assert cube.hide_get()
    assert cube.hide_render
    placement = extension.jobs.placement.Placement.read(
        extension.sdi_engine.contract.job_folder.JobFolder(copy.active_material["sdi_job_folder"])
    )
    assert extension.scene.target.find(placement.target) == copy, "further textures go there"


def test_an_edited_mesh_is_told(bpy, extension, cube, texture, results):
    folder = make_texture_job(extension, bpy, results, cube)
    select(cube, 0)
    some = make_texture_job(extension, bpy, results, cube, name="job-2", only_selected=True)
    cube.data.uv_layers[0].uv[0].vector = (0.1, 0.9)
    apply = extension.scene.texture_result.apply
    assert "UV map of “Cube” has been changed" in apply(bpy.context, cube, folder).notices[0]
    extension.scene.looks.show(cube, 0)
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.subdivide()
    bpy.ops.object.mode_set(mode="OBJECT")
    before = counts(bpy), materials(cube), slots_of(cube)
    with pytest.raises(extension.scene.importer.ImportFailedError, match="edited since"):
        apply(bpy.context, cube, some)
    assert (counts(bpy), materials(cube), slots_of(cube)) == before
    whole = make_texture_job(extension, bpy, results, cube, name="job-3")
    bpy.data.objects.remove(bpy.data.objects["Light"])
    cube.data.uv_layers[0].name = "Another"
    with pytest.raises(extension.scene.importer.ImportFailedError, match='no UV map "UVMap"'):
        apply(bpy.context, cube, whole)


def damaged(content):
    """An archive's arrays, written again with a change."""

    def change(folder):
        with np.load(folder.source_file) as read:
            arrays = dict(read)
        arrays.update(content)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        folder.source_file.write_bytes(buffer.getvalue())

    return change


def compressed(folder):
    with np.load(folder.source_file) as read:
        arrays = dict(read)
    np.savez_compressed(folder.source_file, **arrays)


def with_large_header(folder):
    picture = bytearray(folder.texture_file.read_bytes())
    picture[16:20] = (70_000).to_bytes(4, "big")
    folder.texture_file.write_bytes(bytes(picture))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: folder.texture_file.unlink(),
        lambda folder: folder.texture_file.write_bytes(b"no picture"),
        lambda folder: folder.texture_file.write_bytes(folder.texture_file.read_bytes()[:40]),
        lambda folder: folder.source_file.unlink(),
        lambda folder: folder.source_file.write_bytes(b"PK\x03\x04"),
        lambda folder: np.savez(folder.uv_file, uv=np.zeros((5, 3, 2), np.float32)),
        lambda folder: np.savez(folder.uv_file, uv=np.full((12, 3, 2), np.nan, np.float32)),
        lambda folder: np.savez(folder.uv_file, uv=np.zeros((12, 3, 2), np.float64)),
        with_large_header,
        compressed,
        damaged({"corners": np.full((12, 3), -1, np.int32)}),
        damaged({"corners": np.full((12, 3), 999, np.int32), "painted": np.ones(12, bool)}),
        damaged({"topology": np.zeros(3, np.int64)}),
        damaged({"painted": np.ones(11, bool)}),
    ],
)
def test_damaged_files_change_nothing(bpy, extension, cube, results, damage):
    folder = make_texture_job(extension, bpy, results, cube)
    damage(folder)
    before = counts(bpy), materials(cube)
    with pytest.raises(extension.scene.importer.ImportFailedError):
        extension.scene.texture_result.apply(bpy.context, cube, folder)
    assert (counts(bpy), materials(cube)) == before
    assert not cube.sdi_looks


@pytest.mark.parametrize("new_uv", [None, np.zeros((12, 3, 2))])
def test_a_uv_map_with_nan_is_no_damage(cube, texture, new_uv):
    cube.data.uv_layers.active.uv[0].vector = (np.nan, np.inf)
    texture(cube, new_uv=new_uv)
    assert materials(cube) == [PROMPT]


def test_it_is_saved_with_the_file(bpy, extension, cube, texture, tmp_path):
    texture(cube)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    cube = bpy.data.objects["Cube"]
    extension.scene.looks.show(cube, 0)
    assert materials(cube) == ["Material"], "it was used by nothing else when the file was saved"


def test_a_look_can_be_removed(bpy, extension, cube, texture):
    select(cube, 0)
    texture(cube, only_selected=True)
    texture(cube, name="job-2", prompt="blue", only_selected=True)
    looks = extension.scene.looks
    looks.remove(cube, 1)
    assert [look.name for look in looks.of(cube)] == ["Before", "blue"]
    assert looks.shown(cube) == 1
    assert materials(cube) == ["Material", "blue"]
    looks.show(cube, 0)
    assert materials(cube) == ["Material"]
