"""A texture on a further UV map: what takes the active or the first map finds it, and other looks have theirs back."""

import numpy as np
import pytest
from made_jobs import make_texture_job


@pytest.fixture
def cube(bpy, extension, results):
    """Blender's cube with a texture on a new UV map, all of whose corners lie elsewhere."""
    cube = bpy.data.objects["Cube"]
    new = np.random.default_rng(0).random((12, 3, 2))
    folder = make_texture_job(extension, bpy, results, cube, new_uv=new)
    extension.scene.texture_result.apply(bpy.context, cube, folder)
    bpy.ops.object.select_all(action="DESELECT")
    cube.select_set(True)
    return cube


def flags(mesh):
    layers = mesh.uv_layers
    return [layer.name for layer in layers], layers.active.name, [layer.active_render for layer in layers]


def corners(thing, uv_map):
    """Where each corner lies in a UV map, by the face's normal and the corner's place."""
    mesh, uvs = thing.data, thing.data.uv_layers[uv_map].uv
    found = {}
    for polygon in mesh.polygons:
        normal = (thing.matrix_world.to_3x3() @ polygon.normal).to_tuple(1)
        for loop in polygon.loop_indices:
            place = (thing.matrix_world @ mesh.vertices[mesh.loops[loop].vertex_index].co).to_tuple(1)
            found[normal, place] = tuple(uvs[loop].vector)
    return found


def map_of_picture(thing):
    """The UV map on which a material shows its picture."""
    nodes = thing.data.materials[0].node_tree.nodes
    vector = next(node for node in nodes if node.bl_idname == "ShaderNodeTexImage").inputs["Vector"]
    while vector.is_linked:
        source = vector.links[0].from_node
        if source.bl_idname == "ShaderNodeUVMap":
            return source.uv_map
        vector = source.inputs[0]  # a Mapping node
    return next(layer.name for layer in thing.data.uv_layers if layer.active_render)


def obj(bpy, path):
    bpy.ops.wm.obj_export(filepath=f"{path}.obj", export_selected_objects=True)
    return lambda: bpy.ops.wm.obj_import(filepath=f"{path}.obj")


def fbx(bpy, path):
    import addon_utils

    addon_utils.enable("io_scene_fbx")
    assert bpy.ops.sdi.put_uv_map_first() == {"FINISHED"}
    bpy.ops.export_scene.fbx(filepath=f"{path}.fbx", use_selection=True)
    return lambda: bpy.ops.import_scene.fbx(filepath=f"{path}.fbx")


def glb(bpy, path):
    bpy.ops.export_scene.gltf(filepath=f"{path}.glb", use_selection=True)
    return lambda: bpy.ops.import_scene.gltf(filepath=f"{path}.glb")


def usd(bpy, path):
    bpy.ops.wm.usd_export(filepath=f"{path}.usdc", selected_objects_only=True)
    return lambda: bpy.ops.wm.usd_import(filepath=f"{path}.usdc")


@pytest.mark.parametrize("export", [obj, fbx, glb, usd])
def test_exports_show_the_texture_on_its_map(bpy, cube, tmp_path, export):
    expected = corners(cube, "SDI")
    import_again = export(bpy, tmp_path / "it")
    bpy.ops.wm.read_homefile(use_empty=True)
    import_again()
    (thing,) = (each for each in bpy.data.objects if each.type == "MESH")
    bpy.context.view_layer.update()
    found = corners(thing, map_of_picture(thing))
    assert found.keys() == expected.keys()
    for corner, uv in found.items():
        assert uv == pytest.approx(expected[corner], abs=1e-4)


def test_a_persons_own_further_map_becomes_the_rendered_one(bpy, extension, results):
    cube = bpy.data.objects["Cube"]
    cube.data.uv_layers.new(name="Own")
    cube.data.uv_layers.active = cube.data.uv_layers["Own"]
    folder = make_texture_job(extension, bpy, results, cube)
    extension.scene.texture_result.apply(bpy.context, cube, folder)
    assert map_of_picture(cube) == "Own"
    assert flags(cube.data) == (["UVMap", "Own"], "Own", [False, True])


def test_each_look_has_its_active_map(extension, cube):
    looks, mesh = extension.scene.looks, cube.data
    assert flags(mesh) == (["UVMap", "SDI"], "SDI", [False, True])
    looks.show(cube, 0)
    assert flags(mesh) == (["UVMap", "SDI"], "UVMap", [True, False])
    mesh.uv_layers.active = mesh.uv_layers["SDI"]  # what a person chooses is part of the look
    looks.show(cube, 1)
    assert flags(mesh) == (["UVMap", "SDI"], "SDI", [False, True])
    looks.show(cube, 0)
    assert flags(mesh) == (["UVMap", "SDI"], "SDI", [True, False])


def on_unnamed_map(bpy):
    """A picture on the UV map of materials that name none, in a group."""
    group = bpy.data.node_groups.new("Picture", "ShaderNodeTree")
    group.nodes.new("ShaderNodeTexImage")
    material = bpy.data.materials.new("Old")
    material.use_nodes = True
    material.node_tree.nodes.new("ShaderNodeGroup").node_tree = group
    return material


def on_named_map(bpy):
    material = bpy.data.materials.new("Old")
    material.use_nodes = True
    material.node_tree.nodes.new("ShaderNodeNormalMap").uv_map = "UVMap"
    return material


def plain(bpy):
    """A picture that does not lie on a UV map."""
    material = bpy.data.materials.new("Plain")
    material.use_nodes = True
    nodes, link = material.node_tree.nodes, material.node_tree.links.new
    place, picture = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeTexImage")
    link(place.outputs["Generated"], picture.inputs["Vector"])
    return material


@pytest.mark.parametrize("shares", ["mesh", "faces"])
@pytest.mark.parametrize("make", [on_unnamed_map, on_named_map, plain])
def test_what_other_faces_and_objects_show_stays_where_it_is(bpy, extension, results, make, shares):
    cube, new, looks = bpy.data.objects["Cube"], np.zeros((12, 3, 2)), extension.scene.looks
    cube.data.materials[0] = make(bpy)
    cube.data.polygons.foreach_set("select", [True] + [False] * 5)
    if shares == "mesh":
        bpy.context.collection.objects.link(cube.copy())
    folder = make_texture_job(extension, bpy, results, cube, new_uv=new, only_selected=shares == "faces")
    applied = extension.scene.texture_result.apply(bpy.context, cube, folder)
    before, textured = (["UVMap", "SDI"], "UVMap", [True, False]), (["UVMap", "SDI"], "SDI", [False, True])
    assert flags(cube.data) == (textured if make is plain else before)
    told = [notice for notice in applied.notices if "make “SDI” the active one" in notice]
    assert len(told) == (make is not plain)
    looks.show(cube, 0)
    assert flags(cube.data) == before
    looks.show(cube, 1)
    assert flags(cube.data) == (textured if make is plain else before)


def test_two_objects_with_one_mesh_and_a_texture_each_are_not_both_on_the_active_map(bpy, extension, results):
    cube = bpy.data.objects["Cube"]
    other = cube.copy()
    bpy.context.collection.objects.link(other)
    notices = []
    for number, thing in enumerate((cube, other)):
        folder = make_texture_job(
            extension, bpy, results, thing, name=f"job-{number}", new_uv=np.full((12, 3, 2), number)
        )
        notices.append(extension.scene.texture_result.apply(bpy.context, thing, folder).notices)
    assert flags(cube.data) == (["UVMap", "SDI", "SDI.001"], "SDI", [False, True, False])
    assert notices[0] == []
    assert "“SDI.001”" in notices[1][0]


def test_putting_a_map_first_changes_nothing_else(bpy, extension, cube):
    mesh = cube.data
    mesh.attributes.new(".pn.UVMap", "BOOLEAN", "CORNER").data[3].value = True
    before = {name: corners(cube, name) for name in ("UVMap", "SDI")}
    assert bpy.ops.sdi.put_uv_map_first.poll()
    bpy.ops.sdi.put_uv_map_first()
    assert flags(mesh) == (["SDI", "UVMap"], "SDI", [True, False])
    assert {name: corners(cube, name) for name in before} == before
    pins = {each.name: [pin.value for pin in each.data] for each in mesh.attributes if each.name.startswith(".pn.")}
    assert pins == {".pn.UVMap": [False] * 3 + [True] + [False] * 20}
    assert not bpy.ops.sdi.put_uv_map_first.poll()
    bpy.ops.object.mode_set(mode="EDIT")
    cube.data.materials[0].node_tree.nodes["UV Map"].uv_map = "UVMap"
    with pytest.raises(RuntimeError, match="not in Object Mode"):
        bpy.ops.sdi.put_uv_map_first()
    bpy.ops.object.mode_set(mode="OBJECT")


def test_a_map_whose_name_is_as_long_as_blender_allows_can_be_put_first(bpy, extension):
    mesh = bpy.data.objects["Cube"].data
    name = mesh.uv_layers.new(name="u" * 80).name
    first = mesh.uv_layers[0].name
    mesh.uv_layers[1].uv[0].vector = (0.25, 0.75)
    extension.scene.uv_maps.put_first(mesh, name)
    assert [layer.name for layer in mesh.uv_layers] == [name, first]
    assert tuple(mesh.uv_layers[0].uv[0].vector) == (0.25, 0.75)
