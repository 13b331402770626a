"""Refined shapes on objects of the scene: a shape key that moves what is seen as the job has moved it."""

import math

import numpy as np
import pytest
from made_jobs import counts, make_texture_job


@pytest.fixture
def cube(bpy, extension):
    cube = bpy.data.objects["Cube"]
    cube.location, cube.rotation_euler, cube.scale = (3.0, -1.0, 2.0), (0.3, 0.5, 1.1), (-2.0, 1.0, 0.5)
    bpy.context.view_layer.update()
    return cube


@pytest.fixture
def seen(bpy):
    """The vertices (V, 3) of an object as they are seen, in world space."""

    def vertices(thing):
        bpy.context.view_layer.update()
        evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
        return np.array([evaluated.matrix_world @ vertex.co for vertex in evaluated.data.vertices])

    return vertices


@pytest.fixture
def refine(bpy, extension, results, seen):
    """Make a finished job that moves an object's vertices at random, and put its result there.

    Returns what `apply` does, the vertices seen before, and the offsets.
    """

    def make_and_apply(thing, largest=0.1, name="job-1", **chosen):
        before = seen(thing)
        offsets = np.random.default_rng(0).uniform(-largest, largest, before.shape)
        folder = make_texture_job(extension, bpy, results, thing, name, offsets=offsets, **chosen)
        return extension.scene.texture_result.apply(bpy.context, thing, folder), before, offsets

    return make_and_apply


def keys_of(thing):
    """Names and values of the shape keys but the first, whose value means nothing."""
    return [(key.name, key.value) for key in thing.data.shape_keys.key_blocks[1:]]


def add_modifier(thing, kind, **settings):
    modifier = thing.modifiers.new("A modifier", kind)
    for name, value in settings.items():
        setattr(modifier, name, value)


def test_a_slider_goes_from_the_shape_of_before_to_the_new_one(cube, refine, seen):
    applied, before, offsets = refine(cube)
    assert (applied.thing, applied.notices) == (cube, [])
    assert keys_of(cube) == [("Refined", 1.0)]
    assert cube.active_shape_key.name == "Refined"
    np.testing.assert_allclose(seen(cube), before + offsets, atol=1e-5)
    cube.data.shape_keys.key_blocks["Refined"].value = 0.0
    np.testing.assert_allclose(seen(cube), before, atol=1e-6)
    assert cube.material_slots[0].material.name == "a red mug"


def test_the_object_may_have_moved_since(bpy, cube, extension, results, seen):
    offsets = np.full((8, 3), 0.1)
    folder = make_texture_job(extension, bpy, results, cube, offsets=offsets)
    cube.location, cube.rotation_euler = (0.0, 0.0, 0.0), (0.0, 0.0, math.pi)
    before = seen(cube)
    turned = (0.3, 0.5, 1.1)
    extension.scene.texture_result.apply(bpy.context, cube, folder)
    from mathutils import Euler, Vector

    movement = Euler((0.0, 0.0, math.pi)).to_matrix() @ Euler(turned).to_matrix().inverted() @ Vector((0.1, 0.1, 0.1))
    np.testing.assert_allclose(seen(cube), before + np.array(movement), atol=1e-5)


def test_below_a_parent(bpy, cube, refine, seen):
    parent = bpy.data.objects["Light"]
    parent.scale = (1.0, 3.0, 1.0)
    cube.parent = parent
    _, before, offsets = refine(cube)
    np.testing.assert_allclose(seen(cube), before + offsets, atol=1e-5)


def test_other_shape_keys_stay(cube, refine, seen):
    cube.shape_key_add(name="Mine", from_mix=False)
    wide = cube.shape_key_add(name="Wide", from_mix=False)
    group = cube.vertex_groups.new(name="Some")
    group.add([0, 1, 2], 0.5, "REPLACE")
    wide.data[1].co.x += 2.0
    wide.data[5].co.x += 2.0
    wide.value, wide.vertex_group = 0.5, "Some"
    _, before, offsets = refine(cube)
    assert keys_of(cube) == [("Wide", 0.5), ("Refined", 1.0)]
    np.testing.assert_allclose(seen(cube), before + offsets, atol=1e-5)


@pytest.mark.parametrize("active", [0, 1])
def test_shape_keys_in_edit_mode_are_part_of_the_shape_before_modifiers(bpy, extension, active):
    cube = bpy.data.objects["Cube"]
    cube.shape_key_add(name="Basis")
    wide = cube.shape_key_add(name="Wide", from_mix=False)
    wide.data[0].co.x += 1.0
    wide.value, cube.active_shape_key_index = 0.5, active
    bpy.ops.object.mode_set(mode="EDIT")
    source = extension.scene.source_mesh.capture(bpy.context, cube)
    np.testing.assert_allclose(source.rest, source.vertices, atol=1e-6)


def test_of_a_mesh_flattened_by_its_scale_what_can_move_moves(cube, bpy, extension, results, seen):
    cube.rotation_euler, cube.scale.z = (0.0, 0.0, 0.0), 0.0
    before = seen(cube)
    folder = make_texture_job(extension, bpy, results, cube, offsets=np.full((8, 3), (0.05, 0.0, 0.02)))
    extension.scene.texture_result.apply(bpy.context, cube, folder)
    np.testing.assert_allclose(seen(cube), before + np.array([0.05, 0.0, 0.0]), atol=1e-5)


def test_vertices_of_no_face_stay(cube, bpy, extension, results, seen):
    cube.data.vertices.add(1)
    cube.data.vertices[8].co = (9.0, 9.0, 9.0)
    offsets = np.full((9, 3), 0.05)
    offsets[8] = 1e-6  # rounding
    before = seen(cube)
    folder = make_texture_job(extension, bpy, results, cube, offsets=offsets)
    extension.scene.texture_result.apply(bpy.context, cube, folder)
    np.testing.assert_allclose(seen(cube)[:8], before[:8] + 0.05, atol=1e-5)
    refined = cube.data.shape_keys.key_blocks["Refined"].data
    assert tuple(refined[8].co) == (9.0, 9.0, 9.0)


def sculpt(cube):
    cube.data.vertices[0].co.x += 1.0
    cube.data.update()


@pytest.mark.parametrize("change", [sculpt, lambda cube: add_modifier(cube, "SUBSURF", levels=0)])
def test_vertices_and_modifiers_may_have_changed_since(bpy, cube, extension, results, seen, change):
    offsets = np.random.default_rng(0).uniform(-0.05, 0.05, (8, 3))
    folder = make_texture_job(extension, bpy, results, cube, offsets=offsets)
    change(cube)
    before = seen(cube)
    assert extension.scene.texture_result.apply(bpy.context, cube, folder).thing == cube
    np.testing.assert_allclose(seen(cube), before + offsets, atol=1e-5)


@pytest.mark.parametrize("is_parent", [False, True])
def test_an_armature_carries_it(bpy, cube, refine, seen, is_parent):
    data = bpy.data.armatures.new("Bones")
    rig = bpy.data.objects.new("Rig", data)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bone = data.edit_bones.new("Bone")
    bone.tail = (0.0, 0.0, 1.0)
    bpy.ops.object.mode_set(mode="OBJECT")
    cube.vertex_groups.new(name="Bone").add(range(8), 1.0, "REPLACE")
    rig.pose.bones["Bone"].rotation_mode = "XYZ"
    rig.pose.bones["Bone"].rotation_euler = (1.0, 0.4, 0.0)
    if is_parent:
        cube.parent, cube.parent_type = rig, "ARMATURE"
    else:
        add_modifier(cube, "ARMATURE", object=rig)
    _, before, offsets = refine(cube)
    np.testing.assert_allclose(seen(cube), before + offsets, atol=1e-4)
    rig.pose.bones["Bone"].rotation_euler = (0.0, 0.0, 0.0)
    rest = seen(cube)
    cube.data.shape_keys.key_blocks["Refined"].value = 0.0
    lengths = np.linalg.norm(rest - seen(cube), axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(offsets, axis=1), atol=1e-4, err_msg="turned along")


def test_modifiers_that_make_other_vertices_are_applied_on_a_copy(cube, refine, seen):
    add_modifier(cube, "SUBSURF", levels=1)
    mirrored = cube.modifiers.new("Mirror", "MIRROR")
    mirrored.use_axis = (True, False, False)
    applied, before, offsets = refine(cube)
    copy = applied.thing
    assert copy.name == "Cube (refined)"
    assert "has modifiers that make other vertices" in applied.notices[0]
    assert "with the modifiers applied" in applied.notices[0]
    np.testing.assert_allclose(seen(copy), before + offsets, atol=1e-5)
    assert keys_of(copy) == [("Refined", 1.0)]
    assert (cube.data.shape_keys, len(cube.modifiers), cube.hide_get()) == (None, 2, True)


def test_absolute_shape_keys_stay_on_the_original(cube, refine, seen):
    cube.shape_key_add(name="First")
    cube.data.shape_keys.use_relative = False
    applied, before, offsets = refine(cube)
    assert applied.thing != cube
    assert "absolute shape keys" in applied.notices[0]
    np.testing.assert_allclose(seen(applied.thing), before + offsets, atol=1e-5)


def test_other_users_of_the_mesh_keep_their_shape(bpy, cube, refine, seen):
    other = bpy.data.objects.new("Other", cube.data)
    bpy.context.collection.objects.link(other)
    applied, before, offsets = refine(cube)
    assert "mesh of its own" in applied.notices[0]
    assert other.data != cube.data
    assert other.data.shape_keys is None
    np.testing.assert_allclose(seen(cube), before + offsets, atol=1e-5)


def test_refined_again_it_adds_up_and_a_variation_takes_the_place(bpy, cube, extension, results, refine, seen):
    variation = make_texture_job(extension, bpy, results, cube, "variation", offsets=np.full((8, 3), 0.05))
    _, first, _ = refine(cube)
    _, before, offsets = refine(cube, name="job-2", largest=0.05)
    assert keys_of(cube) == [("Refined", 1.0), ("Refined.001", 1.0)]
    np.testing.assert_allclose(seen(cube), before + offsets, atol=1e-5)
    extension.scene.texture_result.apply(bpy.context, cube, variation)
    assert [value for _, value in keys_of(cube)] == [0.0, 0.0, 1.0]
    np.testing.assert_allclose(seen(cube), first + 0.05, atol=1e-5)


def test_a_pinned_shape_key_stays_pinned(cube, refine):
    cube.shape_key_add(name="Mine")
    cube.shape_key_add(name="Wide").data[0].co.x += 1.0
    cube.active_shape_key_index, cube.show_only_shape_key = 1, True
    applied, _, _ = refine(cube)
    assert cube.active_shape_key.name == "Wide"
    assert "unpin it to see “Refined”" in applied.notices[0]


def test_only_chosen_faces_move(bpy, cube, extension, results, seen):
    for polygon in cube.data.polygons:
        polygon.select = polygon.index == 0
    moved = np.zeros((8, 3))
    inside = list(cube.data.polygons[0].vertices)
    moved[inside[0]] = 0.05
    folder = make_texture_job(extension, bpy, results, cube, offsets=moved, only_selected=True)
    with pytest.raises(extension.scene.importer.ImportFailedError, match="farther than was allowed"):
        extension.scene.texture_result.apply(bpy.context, cube, folder)  # the corner is of other faces, too
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=4, y_subdivisions=4, location=(0.0, 0.0, 5.0))
    grid = bpy.context.object
    middle = 12
    for polygon in grid.data.polygons:
        polygon.select = middle in polygon.vertices
    offsets = np.zeros((25, 3))
    offsets[middle] = (0.0, 0.0, 0.1)
    folder = make_texture_job(extension, bpy, results, grid, "job-2", offsets=offsets, only_selected=True)
    before = seen(grid)
    applied = extension.scene.texture_result.apply(bpy.context, grid, folder)
    np.testing.assert_allclose(seen(applied.thing), before + offsets, atol=1e-6)


def of_another_mesh(folder):
    np.savez(folder.moved_file, vertices=np.zeros((9, 3), np.float32))


def too_far(folder):
    with np.load(folder.source_file) as source:
        vertices = source["vertices"]
    vertices[3] += np.float32(1.0)
    np.savez(folder.moved_file, vertices=vertices)


@pytest.mark.parametrize("damage", [of_another_mesh, too_far, lambda folder: folder.moved_file.unlink()])
def test_a_file_that_is_not_the_jobs_changes_nothing(bpy, extension, cube, results, damage):
    folder = make_texture_job(extension, bpy, results, cube, offsets=np.zeros((8, 3)))
    damage(folder)
    before = counts(bpy)
    with pytest.raises(extension.scene.importer.ImportFailedError, match="run the job again"):
        extension.scene.texture_result.apply(bpy.context, cube, folder)
    assert counts(bpy) == before
    assert not cube.sdi_looks


def test_an_edited_mesh_is_refused(bpy, extension, cube, results):
    folder = make_texture_job(extension, bpy, results, cube, offsets=np.zeros((8, 3)))
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.subdivide()
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(extension.scene.importer.ImportFailedError, match="edited since"):
        extension.scene.texture_result.apply(bpy.context, cube, folder)
    assert cube.data.shape_keys is None


def test_offsets_are_carried_from_one_shape_to_another(extension):
    """A bent strip: each half takes its offsets along."""
    flat = np.array([[x, y, 0.0] for x in range(3) for y in range(2)])
    bent = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]], float)
    faces = np.array([[0, 2, 1], [1, 2, 3], [2, 4, 3], [3, 4, 5]])
    offsets = np.zeros((6, 3))
    offsets[[0, 5]] = (0.1, 0.0, 0.2)
    carried = extension.scene.refined_shape.carried(offsets, flat, bent, faces)
    np.testing.assert_allclose(carried[0], (0.1, 0.0, 0.2), atol=1e-12)
    np.testing.assert_allclose(carried[5], (-0.2, 0.0, 0.1), atol=1e-12)


def test_with_its_look_the_shape_key_is_removed(bpy, cube, refine, seen):
    _, before, _ = refine(cube)
    refine(cube, name="job-2")
    assert bpy.ops.sdi.remove_look(index=2) == {"FINISHED"}
    assert keys_of(cube) == [("Refined", 1.0)]
    assert bpy.ops.sdi.remove_look(index=1) == {"FINISHED"}
    assert cube.data.shape_keys is None
    np.testing.assert_allclose(seen(cube), before, atol=1e-6)


def test_on_a_coarse_mesh_twisted_by_a_modifier_it_is_where_the_job_moved_it(cube, refine, seen):
    add_modifier(cube, "SIMPLE_DEFORM", deform_method="TWIST", angle=1.5)
    applied, before, offsets = refine(cube)
    assert (applied.thing, applied.notices) == (cube, [])
    np.testing.assert_allclose(seen(cube), before + offsets, atol=2e-3)


def test_where_modifiers_keep_vertices_from_the_shape_it_is_on_a_copy(bpy, cube, refine, seen):
    other = bpy.data.objects.new("Other", cube.data)
    bpy.context.collection.objects.link(other)
    add_modifier(cube, "SMOOTH", factor=1.0, iterations=3)
    mesh = cube.data
    applied, before, offsets = refine(cube, largest=0.01)
    assert applied.thing.name == "Cube (refined)"
    assert len(applied.notices) == 1
    assert "keep it from the refined shape" in applied.notices[0]
    np.testing.assert_allclose(seen(applied.thing), before + offsets, atol=1e-5)
    assert (cube.data, other.data, mesh.shape_keys, len(cube.modifiers)) == (mesh, mesh, None, 1)


def test_on_a_copy_a_variation_takes_the_place_of_the_first(bpy, cube, extension, results, refine, seen):
    add_modifier(cube, "SUBSURF", levels=1)
    variation = make_texture_job(extension, bpy, results, cube, "variation", offsets=np.full((26, 3), 0.05))
    applied, before, _ = refine(cube)
    extension.scene.texture_result.apply(bpy.context, applied.thing, variation)
    assert [value for _, value in keys_of(applied.thing)] == [0.0, 1.0]
    np.testing.assert_allclose(seen(applied.thing), before + 0.05, atol=1e-5)


def test_an_object_that_is_hidden_or_in_another_scene(bpy, cube, extension, results, seen):
    add_modifier(cube, "SIMPLE_DEFORM", deform_method="TWIST", angle=1.5)
    offsets = np.random.default_rng(0).uniform(-0.1, 0.1, (8, 3))
    before = seen(cube)
    hidden, away = (make_texture_job(extension, bpy, results, cube, name, offsets=offsets) for name in ("1", "2"))
    cube.hide_set(True)
    assert extension.scene.texture_result.apply(bpy.context, cube, hidden).notices == []
    cube.hide_set(False)
    np.testing.assert_allclose(seen(cube), before + offsets, atol=2e-3)
    bpy.data.scenes.new("Another").collection.objects.link(cube)
    bpy.context.collection.objects.unlink(cube)
    assert "could not be checked" in extension.scene.texture_result.apply(bpy.context, cube, away).notices[0]


@pytest.mark.parametrize("is_flat", [False, True])
def test_scale_and_rotation_may_have_been_applied_since(bpy, cube, extension, results, seen, is_flat):
    if is_flat:
        bpy.ops.mesh.primitive_plane_add(rotation=(0.3, 0.5, 1.1))
        cube = bpy.context.object
        cube.scale = (3.0, 3.0, 3.0)
        bpy.context.view_layer.update()
    offsets = np.random.default_rng(0).uniform(-0.1, 0.1, (len(cube.data.vertices), 3))
    folder = make_texture_job(extension, bpy, results, cube, offsets=offsets)
    cube.select_set(True)
    bpy.context.view_layer.objects.active = cube
    bpy.ops.object.transform_apply()
    cube.rotation_euler = (0.0, 0.0, math.pi)
    before = seen(cube)
    extension.scene.texture_result.apply(bpy.context, cube, folder)
    np.testing.assert_allclose(seen(cube), before + offsets * [-1.0, -1.0, 1.0], atol=1e-5)


@pytest.mark.parametrize("mode", ["EDIT", "SCULPT"])
def test_what_was_done_in_another_mode_meanwhile_is_kept(bpy, cube, extension, results, seen, mode):
    bmesh = pytest.importorskip("bmesh")
    folder = make_texture_job(extension, bpy, results, cube, offsets=np.full((8, 3), 0.1))
    before = seen(cube)
    bpy.ops.object.mode_set(mode=mode)
    if mode == "EDIT":
        edited = bmesh.from_edit_mesh(cube.data)
        edited.verts.ensure_lookup_table()
        edited.verts[3].co.x += 1.0
        bmesh.update_edit_mesh(cube.data)
    else:
        cube.data.vertices[3].co.x += 1.0
    where = extension.jobs.placement.Placement.read(folder)
    waits_for = extension.scene.destination.reason_to_wait(bpy.context, where, "refined shape")
    assert waits_for.endswith(f"it comes onto “Cube” when you leave {mode.title()} Mode.")
    bpy.ops.object.mode_set(mode="OBJECT")
    extension.scene.texture_result.apply(bpy.context, cube, folder)
    way = seen(cube) - before - 0.1
    assert np.linalg.norm(way, axis=1) == pytest.approx([0.0] * 3 + [2.0] + [0.0] * 4, abs=1e-5)  # the scale is −2


def joined(bpy, active, other):
    for each in bpy.context.selected_objects:
        each.select_set(False)
    for each in (active, other):
        each.select_set(True)
    bpy.context.view_layer.objects.active = active
    bpy.ops.object.join()


def with_another(bpy, cube):
    other = bpy.data.objects.new("Other", cube.data.copy())
    bpy.context.collection.objects.link(other)
    return other


def link_it(bpy, cube, path):
    bpy.ops.wm.save_as_mainfile(filepath=path, copy=True)
    bpy.data.objects.remove(cube)
    with bpy.data.libraries.load(path, link=True) as (_, here):
        here.objects = ["Cube"]
    bpy.context.collection.objects.link(here.objects[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda bpy, cube, _: joined(bpy, with_another(bpy, cube), cube), "no longer in this file: if it was joined"),
        (lambda bpy, cube, _: joined(bpy, cube, with_another(bpy, cube)), "have been edited since"),
        (link_it, "make it local first (Object ▸ Relations ▸ Make Local), and use Put on Object"),
        (lambda bpy, cube, _: cube.modifiers.clear(), '"Cube" or its modifiers have been edited since'),
    ],
)
def test_an_object_that_has_become_another_is_told_and_left_alone(
    bpy, cube, extension, results, tmp_path, change, said
):
    add_modifier(cube, "SUBSURF", levels=1)
    folder = make_texture_job(extension, bpy, results, cube, offsets=np.zeros((26, 3)))
    change(bpy, cube, str(tmp_path / "library.blend"))
    arrivals = extension.state.current.session().arrivals
    assert arrivals.put_texture(bpy.context, "job-1", folder) is None
    assert said in arrivals.complaint
    assert all(mesh.shape_keys is None for mesh in bpy.data.meshes)
