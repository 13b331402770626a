"""New objects do not stand in existing ones."""

import itertools
import json

import pytest
from blender_desk import PROMPT


@pytest.fixture
def free_space(extension):
    return extension.scene.free_space


@pytest.fixture
def way(bpy, free_space):
    """The distance that an object of one metre is moved aside from the 3D cursor."""

    from mathutils import Vector

    def find(edge=1.0, at=(0.0, 0.0, 0.0)):
        floor = free_space.Floor(bpy.context.view_layer)
        return floor.way_aside(free_space.Box.of_edge(Vector(at), edge))

    return find


@pytest.fixture
def empty(bpy):
    """The scene without its cube."""
    bpy.data.objects.remove(bpy.data.objects["Cube"])


def add(bpy, kind, inward=False, **arguments):
    getattr(bpy.ops.mesh, f"primitive_{kind}_add")(**arguments)
    if inward:
        bpy.context.object.data.flip_normals()
    return bpy.context.object


def spans(bpy, names):
    from mathutils import Vector

    bpy.context.view_layer.update()
    boxes = [
        [bpy.data.objects[name].matrix_world @ Vector(corner) for corner in bpy.data.objects[name].bound_box]
        for name in names
    ]
    return sorted((min(corner.x for corner in box), max(corner.x for corner in box)) for box in boxes)


def are_apart(spans):
    return all(left[1] <= right[0] for left, right in itertools.pairwise(spans))


def test_beside_the_cube_and_beside_each_other(bpy, desk):
    for _ in range(3):
        desk.generate()
    assert [marker.location.x for marker in desk.markers()] == pytest.approx([2.0, 3.5, 5.0])
    desk.to_the_end()
    assert are_apart(spans(bpy, ["Cube", PROMPT, f"{PROMPT}.001", f"{PROMPT}.002"]))


def test_without_a_window_too(bpy, extension):
    for name in (PROMPT, "a blue mug"):
        bpy.context.scene.sdi.prompt = name
        assert bpy.ops.sdi.generate() == {"FINISHED"}
    assert [bpy.data.objects[name].location.x for name in (PROMPT, "a blue mug")] == pytest.approx([2.0, 3.2])


def test_put_into_scene_again_stands_beside(bpy, desk):
    desk.generate()
    desk.to_the_end()
    assert desk.press("import_result", job=desk.job.name) is None
    assert are_apart(spans(bpy, ["Cube", PROMPT, f"{PROMPT}.001"]))


def test_it_stands_where_the_person_put_the_marker(bpy, desk):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    (marker,) = desk.markers()
    marker.location = (0.5, 0.0, 0.0)  # in the cube
    desk.press("cancel_job")
    desk.until(lambda: desk.job.is_over)
    desk.press("resume_job")
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == 0.5


def test_it_steps_aside_from_what_was_added_meanwhile(bpy, desk, empty):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    add(bpy, "cube", size=1.0)
    desk.press("finish_job")
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == pytest.approx(0.5 + 0.2 + 0.2)


def test_an_empty_place_is_taken(way, empty):
    assert way() == 0.0


def test_places_of_waiting_jobs_are_occupied(bpy, extension, way, empty):
    from mathutils import Matrix

    marker = extension.scene.markers.make(bpy.context.scene, "job-1", PROMPT, 2.0, Matrix())
    assert way() == pytest.approx(2.0)
    marker.location.y = 5.0
    assert way() == 0.0


@pytest.mark.parametrize("how", ["hide_viewport", "wire", "elsewhere", "above"])
def test_invisible_things_are_ignored(bpy, way, how):
    cube = bpy.data.objects["Cube"]
    if how == "wire":
        cube.display_type = "WIRE"
    elif how == "hide_viewport":
        cube.hide_viewport = True
    else:
        cube.location = (0.0, 3.0, 0.0) if how == "elsewhere" else (0.0, 0.0, 2.0)
    assert way() == 0.0


def test_one_stands_in_a_room_on_a_floor_and_on_a_hill(bpy, way, empty):
    add(bpy, "plane", size=50.0)
    add(bpy, "cube", inward=True, size=8.0, location=(0.0, 0.0, 4.0))
    hill = add(bpy, "grid", x_subdivisions=20, y_subdivisions=20, size=60.0)
    for vertex in hill.data.vertices:
        vertex.co.z = 0.2 * abs(vertex.co.y)  # a valley along X
    assert way() == 0.0


def test_one_does_not_stand_in_a_rock_or_in_a_wall(bpy, way, empty):
    add(bpy, "uv_sphere", radius=4.0)
    assert way() > 4.0
    bpy.data.objects.remove(bpy.context.object)
    add(bpy, "cube", size=1.0).scale = (0.5, 40.0, 8.0)  # a long wall
    assert way() == pytest.approx(1.5)


def test_small_things_do_not_stand_in_the_cube_either(way):
    assert way(edge=0.3, at=(0.0, 0.0, -0.15)) > 1.0


def test_a_landscape_without_a_free_place_is_no_reason_to_go_far(bpy, way, empty):
    add(bpy, "cube", size=1.0).scale = (100_000.0, 100_000.0, 5.0)
    assert way() == 0.0


def test_a_wide_thing_steps_aside_when_it_comes(bpy, extension, free_space, empty):
    near = add(bpy, "cube", size=1.0)
    wide = add(bpy, "cube", size=1.0, location=(1.5, 0.0, 0.0))
    free_space.move_aside(bpy.context.view_layer, wide)
    assert wide.location.x == 1.5
    wide.scale.x = 3.0
    free_space.move_aside(bpy.context.view_layer, wide)
    assert are_apart(spans(bpy, [near.name, wide.name]))


def test_a_file_opened_by_the_batch_keeps_its_places(bpy, extension, tmp_path, capsys):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mine.blend"))
    (tmp_path / "prompts.txt").write_text("a red mug\na blue mug\n")
    files = ["--prompts", str(tmp_path / "prompts.txt"), "--output", str(tmp_path / "out.blend")]
    assert extension.console.commands.main([*files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ok"]
    assert are_apart(spans(bpy, ["Cube", "a red mug", "a blue mug"]))
