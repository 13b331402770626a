"""The light mesh that grows in the scene."""

import json

import pytest
from made_jobs import PROMPT, counts, make_job, write_live

JOB = "job-1"
SQUARE = {"vertices": ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)), "faces": ((0, 1, 2), (0, 2, 3))}


@pytest.fixture
def folder(extension, results):
    return make_job(extension, results, JOB, at=(4.0, 5.0, 6.0))


@pytest.fixture
def show(bpy, extension, folder):
    """Write a live file and show it; returns the object, or None if nothing was shown."""

    def write_and_show(**what):
        write_live(folder, **what)
        return (
            extension.scene.markers.find(JOB, "live") if extension.scene.live_mesh.show(bpy.context, folder) else None
        )

    return write_and_show


def corners(bpy, thing):
    bpy.context.view_layer.update()
    return [tuple(thing.matrix_world @ vertex.co) for vertex in thing.data.vertices]


def test_it_shows_shape_and_colours_and_cannot_be_selected_or_rendered(bpy, show):
    thing = show(**SQUARE, colours=((255, 0, 0), (255, 0, 0), (0, 128, 0), (0, 128, 0)))
    assert thing.name == f"{PROMPT} (live)"
    assert thing.users_collection == (bpy.context.scene.collection,)
    assert thing["sdi_job"] == JOB
    assert thing.hide_select
    assert thing.hide_render
    assert all(polygon.use_smooth for polygon in thing.data.polygons)
    assert [tuple(polygon.vertices) for polygon in thing.data.polygons] == [(0, 1, 2), (0, 2, 3)]
    colours = thing.data.color_attributes["Color"]
    assert tuple(colours.data[0].color_srgb) == pytest.approx((1.0, 0.0, 0.0, 1.0))
    assert tuple(colours.data[2].color_srgb) == pytest.approx((0.0, 128 / 255, 0.0, 1.0), abs=1e-6)
    (material,) = thing.data.materials
    shader = next(node for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")
    (link,) = shader.inputs["Base Color"].links
    assert link.from_node.layer_name == "Color"
    assert [each.name for each in bpy.context.selected_objects] == ["Cube"]
    assert bpy.context.view_layer.objects.active.name == "Cube"


def test_solid_shading_shows_its_average_colour(bpy, show):
    thing = show(**SQUARE, colours=[(188, 0, 0)] * 4)
    assert tuple(thing.data.materials[0].diffuse_color) == pytest.approx((0.5029, 0.0, 0.0, 1.0), abs=1e-3)


def test_an_update_replaces_the_geometry(bpy, show):
    first = show()
    before = counts(bpy)
    again = show(**SQUARE)
    assert again == first
    assert counts(bpy) == before
    assert (len(again.data.vertices), len(again.data.polygons)) == (4, 2)
    assert [each.name for each in again.data.color_attributes] == ["Color"]


def test_it_is_a_child_of_the_marker(bpy, extension, show):
    marker = extension.scene.markers.add(bpy.context.scene, JOB, PROMPT, 1.0, (1.0, 0.0, 0.0))
    thing = show()
    assert corners(bpy, thing)[1] == pytest.approx((2.0, 0.0, 0.0))
    marker.scale = (3.0, 3.0, 3.0)
    assert corners(bpy, thing)[1] == pytest.approx((4.0, 0.0, 0.0))


def test_without_a_marker_it_stands_where_the_result_will(bpy, extension, show):
    marker = extension.scene.markers.add(bpy.context.scene, JOB, PROMPT, 1.0, (1.0, 0.0, 0.0))
    show()
    bpy.data.objects.remove(marker)
    thing = show()
    assert corners(bpy, thing)[0] == pytest.approx((4.0, 5.0, 6.0))
    assert extension.scene.markers.helpers(JOB) == [thing]


def test_metres_become_the_scenes_units(bpy, show):
    bpy.context.scene.unit_settings.scale_length = 0.01
    x, y, z = corners(bpy, show())[1]
    assert (x, y, z) == pytest.approx((104.0, 5.0, 6.0))


def test_edit_mode_is_not_left(bpy, show):
    bpy.ops.object.mode_set(mode="EDIT")
    thing = show()
    assert len(thing.data.vertices) == 4
    assert bpy.context.mode == "EDIT_MESH"
    assert bpy.context.view_layer.objects.active.name == "Cube"


def test_it_is_no_undo_step_and_outlives_undo(bpy, extension, show):
    cube = bpy.data.objects["Cube"]
    bpy.ops.ed.undo_push(message="before")
    cube.location.x = 3.0
    bpy.ops.ed.undo_push(message="move")
    show()
    show(**SQUARE)
    bpy.ops.ed.undo()
    assert bpy.data.objects["Cube"].location.x == 0.0
    thing = extension.scene.markers.find(JOB, "live")
    assert [tuple(polygon.vertices) for polygon in thing.data.polygons] == [(0, 1, 2), (0, 2, 3)]
    assert tuple(thing.data.color_attributes["Color"].data[0].color_srgb) == pytest.approx((1.0, 0.0, 0.0, 1.0))
    assert corners(bpy, thing)[0] == pytest.approx((4.0, 5.0, 6.0))
    assert show() == thing
    bpy.ops.ed.redo()
    assert bpy.data.objects["Cube"].location.x == 3.0
    assert len(extension.scene.markers.helpers(JOB)) == 1


def test_it_lets_go_of_a_marker_that_the_undo_does_not_know(bpy, extension, show):
    """Otherwise Blender would keep the mesh with a parent that no longer exists, and crash."""
    show()
    for x in range(3):
        bpy.data.objects["Cube"].location.x = x
        bpy.ops.ed.undo_push(message="move")
    marker = extension.scene.markers.add(bpy.context.scene, JOB, PROMPT, 1.0, (1.0, 0.0, 0.0))
    thing = show()
    assert thing.parent == marker
    bpy.ops.ed.undo()
    thing = extension.scene.markers.find(JOB, "live")
    assert thing.parent is None
    assert corners(bpy, thing)[0] == pytest.approx((1.0, 0.0, 0.0))


def test_nothing_changes_while_blender_renders(bpy, extension, show, monkeypatch):
    monkeypatch.setattr(extension.scene.destination, "work_of_blender", lambda: "render")
    before = counts(bpy)
    assert show() is None
    assert counts(bpy) == before


@pytest.mark.parametrize(
    "damage",
    [
        {"faces": ((0, 1, 4),)},
        {"faces": ((0, 1, -1),)},
        {"faces": ((0, 1, 2, 3),)},
        {"faces": ((),)},
        {"vertices": ((0, 0, float("nan")),) * 4},
        {"vertices": (0, 0, 0, 0)},
        {"colours": ((0, 0, 0),)},
    ],
)
def test_a_damaged_mesh_is_ignored(bpy, show, damage):
    before = counts(bpy)
    assert show(**damage) is None
    assert counts(bpy) == before


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 half a file", b"text", json.dumps([]).encode()])
def test_an_invalid_file_is_ignored(bpy, extension, folder, show, content):
    thing = show()
    if content is None:
        folder.live_file.unlink()
    else:
        folder.live_file.write_bytes(content)
    assert not extension.scene.live_mesh.show(bpy.context, folder)
    assert len(thing.data.polygons) == 4  # the former mesh is still shown


def test_half_of_a_real_file_is_ignored(bpy, extension, folder):
    write_live(folder)
    whole = folder.live_file.read_bytes()
    for length in range(0, len(whole), 40):
        folder.live_file.write_bytes(whole[:length])
        assert not extension.scene.live_mesh.show(bpy.context, folder)
