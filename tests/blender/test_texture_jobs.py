"""Texture jobs from the button to the object, in a Blender with a window and timers: here the test ticks them."""

import math
from unittest.mock import MagicMock

import pytest
from blender_desk import PROMPT


@pytest.fixture
def cube(bpy, desk):
    return bpy.data.objects["Cube"]


@pytest.fixture
def texture(desk):
    """Press Texture; returns its error report, or None."""

    def press(prompt=PROMPT, **settings):
        desk.settings.prompt = prompt
        for name, value in settings.items():
            setattr(desk.settings, name, value)
        return desk.press("texture")

    return press


def materials(thing):
    return [slot.material.name if slot.material else None for slot in thing.material_slots]


def add_object(bpy, name, data):
    thing = bpy.data.objects.new(name, data)
    bpy.context.collection.objects.link(thing)
    return thing


def overlays(bpy):
    return [thing for thing in bpy.data.objects if thing.get("sdi_part") == "overlay"]


def test_it_comes_onto_the_object_in_one_undo_step(bpy, desk, cube, texture):
    bpy.ops.ed.undo_push(message="before")
    assert texture() is None
    assert desk.job.request.task == "texture"
    assert not desk.markers()
    desk.to_the_end()
    assert materials(cube) == [PROMPT]
    assert len(bpy.data.objects) == 3
    assert desk.session.whereabouts.of(bpy.context, desk.job) == ("Done: it is on “Cube”.", True)
    assert desk.list() == [PROMPT]
    assert desk.press("restore_materials") is None
    assert materials(cube) == ["Material"]
    assert "another look" in desk.session.whereabouts.of(bpy.context, desk.job)[0]
    assert desk.press("restore_materials") is None
    assert materials(cube) == [PROMPT]
    bpy.ops.ed.undo()
    cube = bpy.data.objects["Cube"]
    assert (materials(cube), len(cube.sdi_looks)) == (["Material"], 0)
    assert "undone" in desk.session.whereabouts.of(bpy.context, desk.job)[0]
    bpy.ops.ed.redo()
    assert materials(bpy.data.objects["Cube"]) == [PROMPT]


def test_a_refined_shape_comes_with_it_in_the_same_undo_step(bpy, desk, cube):
    bpy.ops.ed.undo_push(message="before")
    desk.settings.prompt, desk.settings.max_move = PROMPT, 5.0
    assert desk.press("refine") is None
    desk.to_the_end()
    assert (desk.job.request.task, desk.job.request.max_move) == ("refine", 0.05)
    assert materials(cube) == [PROMPT]
    key = cube.data.shape_keys.key_blocks["Refined"]
    assert key.data[0].co.z - cube.data.vertices[0].co.z == pytest.approx(0.1)
    assert desk.session.whereabouts.of(bpy.context, desk.job) == ("Done: it is on “Cube”.", True)
    assert desk.press("restore_materials") is None
    assert (materials(cube), key.value) == (["Material"], 1.0)
    assert desk.press("variations", job=desk.job.name, count=1) is None
    desk.to_the_end()
    values = [each.value for each in cube.data.shape_keys.key_blocks[1:]]
    assert values == [0.0, 1.0], "a variation takes the place of the first"
    for _ in range(2):
        bpy.ops.ed.undo()
    cube = bpy.data.objects["Cube"]
    assert (materials(cube), cube.data.shape_keys) == (["Material"], None)
    bpy.ops.ed.redo()
    assert len(bpy.data.objects["Cube"].data.shape_keys.key_blocks) == 2


def test_a_refined_shape_waits_under_its_own_name(bpy, desk, cube):
    desk.settings.prompt = "slow red"
    desk.press("refine")
    desk.until(lambda: overlays(bpy))
    assert overlays(bpy)[0].show_in_front, "what has moved inwards would be hidden"
    desk.press("finish_job")
    bpy.ops.object.mode_set(mode="EDIT")
    desk.until(lambda: desk.arrivals.waits_for)
    assert desk.arrivals.waits_for == "The refined shape is ready: it comes onto “Cube” when you leave Edit Mode."
    bpy.ops.object.mode_set(mode="OBJECT")
    desk.to_the_end()
    assert len(cube.data.shape_keys.key_blocks) == 2


def test_every_selected_mesh_has_a_job_of_its_own(bpy, desk, cube, texture):
    other = add_object(bpy, "Other", cube.data.copy())
    other.select_set(True)
    bpy.data.objects["Light"].select_set(True)
    assert texture(seed=7) is None
    desk.to_the_end()
    assert [each.sdi_looks[1].seed for each in (cube, other)] == [7, 7]
    assert materials(other)[0].startswith(PROMPT)
    assert texture(seed=7) is None
    desk.to_the_end()
    assert [each.sdi_looks[2].seed for each in (cube, other)] == [8, 8], "the same again is made with another seed"


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda bpy, cube: cube.select_set(False), "Select one or more mesh objects"),
        (lambda bpy, cube: cube.data.clear_geometry(), "has no faces"),
        (lambda bpy, cube: cube.hide_set(True), "Select one or more mesh objects"),
    ],
)
def test_what_cannot_be_textured_is_refused_with_a_reason(bpy, desk, cube, texture, prepare, reason, results):
    prepare(bpy, cube)
    assert not desk.can_press("texture")
    assert reason in texture()
    assert not list(results.glob("*/request.json"))
    assert "sdi_identity" not in cube


@pytest.mark.parametrize("only", ["SELECTED", "GROUP"])
def test_without_chosen_faces_nothing_is_queued(bpy, desk, cube, texture, only, results):
    for polygon in cube.data.polygons:
        polygon.select = False
    assert ("selected" if only == "SELECTED" else "vertex group") in texture(texture_only=only)
    assert desk.session.display.complaint
    assert not list(results.glob("*/request.json"))


@pytest.mark.parametrize("mode", ["EDIT", "SCULPT"])
def test_it_waits_for_who_else_edits_the_mesh(bpy, desk, cube, texture, mode):
    """Blender writes the edited mesh over the object's when that mode is left: a new UV map would be gone."""
    assert texture() is None
    here, there = bpy.context.scene, bpy.data.scenes.new("Other")
    bpy.context.window.scene = there
    there.collection.objects.link(cube.copy())
    bpy.context.view_layer.objects.active = there.collection.objects[0]
    bpy.ops.object.mode_set(mode=mode)
    desk.until(lambda: desk.arrivals.waits_for)
    assert desk.arrivals.waits_for == f"The texture is ready: it comes onto “Cube” when you leave {mode.title()} Mode."
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.window.scene = here
    desk.to_the_end()
    assert PROMPT in materials(cube)


def test_selected_faces_in_edit_mode(bpy, desk, cube, texture):
    bmesh = pytest.importorskip("bmesh")
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_mode(type="FACE")
    edited = bmesh.from_edit_mesh(cube.data)
    for face in edited.faces:
        face.select_set(face.index == 3)
    bmesh.update_edit_mesh(cube.data)
    assert texture(texture_only="SELECTED") is None
    desk.until(lambda: desk.arrivals.waits_for)
    assert desk.arrivals.waits_for == "The texture is ready: it comes onto “Cube” when you leave Edit Mode."
    bpy.ops.object.mode_set(mode="OBJECT")
    desk.to_the_end()
    assert materials(cube) == ["Material", PROMPT]
    assert [polygon.material_index for polygon in cube.data.polygons] == [0, 0, 0, 1, 0, 0]


def test_it_is_seen_on_the_object_while_it_runs(bpy, desk, cube, texture):
    cube.location.x, cube.scale.x = 5.0, -2.0
    bpy.context.view_layer.update()
    texture("slow red")
    desk.until(lambda: overlays(bpy))
    (overlay,) = overlays(bpy)
    assert overlay.parent == cube
    assert (overlay.hide_select, overlay.hide_render) == (True, True)
    bpy.context.view_layer.update()
    corners = [(overlay.matrix_world @ vertex.co) for vertex in overlay.data.vertices]
    assert max(corner.x for corner in corners) == pytest.approx(7.0, abs=0.05)
    assert max(corner.x for corner in corners) > 7.0, "it is just outside of the surface"
    assert min(corner.z for corner in corners) < -1.0
    assert materials(cube) == ["Material"]
    desk.settings.live = False
    assert not overlays(bpy)
    desk.press("finish_job")
    desk.to_the_end()
    assert materials(cube) == ["slow red"]
    assert not desk.helpers()


def test_the_overlay_is_not_in_the_way_of_undo(bpy, desk, cube, texture):
    bpy.ops.ed.undo_push(message="before")
    texture("slow red")
    desk.until(lambda: overlays(bpy))
    cube.location.x = 3.0
    bpy.ops.ed.undo_push(message="move")
    bpy.ops.ed.undo()
    desk.arrivals.remove_stale()
    assert bpy.data.objects["Cube"].location.x == 0.0
    assert not overlays(bpy)
    desk.session.watcher.hear(desk.job)
    assert len(overlays(bpy)) == 1
    desk.press("finish_job")
    desk.to_the_end()
    assert materials(bpy.data.objects["Cube"]) == ["slow red"]
    assert not desk.helpers()


def test_the_overlay_is_not_saved(bpy, desk, cube, texture, tmp_path):
    texture("slow red")
    desk.until(lambda: overlays(bpy))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert not overlays(bpy)
    desk.session.watcher.hear(desk.job)
    assert len(overlays(bpy)) == 1, "the next step brings it again"


def test_pause_resume_and_cancel(bpy, desk, cube, texture):
    texture("slow red")
    desk.until(lambda: overlays(bpy))
    assert desk.press("pause_job") is None
    desk.until(lambda: desk.job.state == "paused")
    assert not overlays(bpy)
    assert materials(cube) == ["Material"]
    assert desk.press("resume_job") is None
    desk.to_the_end()
    assert materials(cube) == ["slow red"]
    texture("slow blue")
    desk.until(lambda: desk.job.request.prompt == "slow blue" and desk.job.state == "running")
    assert desk.press("cancel_job") is None
    desk.to_the_end()
    assert materials(cube) == ["slow red"]
    assert not desk.helpers()


def test_a_renamed_object_is_found_and_its_copy_is_left_alone(bpy, desk, cube, texture):
    texture("slow red")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    copy = cube.copy()
    copy.data = cube.data.copy()
    bpy.context.collection.objects.link(copy)
    cube.name = "Crate"
    copy.name = "Z copy"
    desk.press("finish_job")
    desk.to_the_end()
    assert materials(cube) == ["slow red"]
    assert materials(copy) == ["Material"]
    for each in bpy.context.selected_objects:
        each.select_set(False)
    copy.select_set(True)
    bpy.context.view_layer.objects.active = copy
    assert desk.press("import_result", job=desk.job.name) is None
    assert materials(copy)[0].startswith("slow red"), "the copy was chosen"


def test_a_deleted_object_is_told_and_the_texture_kept(bpy, desk, cube, texture):
    texture("slow red")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    twin = add_object(bpy, "Twin", cube.data.copy())
    bpy.data.objects.remove(cube)
    desk.press("finish_job")
    desk.to_the_end()
    assert "“Cube” is no longer in this file" in desk.arrivals.complaint
    assert materials(twin) == ["Material"]
    twin.select_set(True)
    bpy.context.view_layer.objects.active = twin
    assert desk.press("import_result", job=desk.job.name) is None
    assert materials(twin) == ["slow red"]
    assert desk.arrivals.complaint == ""


def to_the_end_in_the_reopened_file(bpy, desk, tmp_path):
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=path)
    desk.start_anew()
    desk.until(lambda: desk.job is not None)
    desk.press("finish_job")
    desk.to_the_end()


def test_after_a_crash_it_finds_its_object_in_the_saved_file(bpy, desk, cube, texture, tmp_path):
    texture("slow red")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    cube.name = "Crate"
    to_the_end_in_the_reopened_file(bpy, desk, tmp_path)
    assert materials(bpy.data.objects["Crate"]) == ["slow red"]


def test_a_file_that_was_saved_anew_and_opened_again_has_its_object(bpy, desk, cube, tmp_path):
    """Also after an undo, which takes away the mark by which the object is known."""
    desk.settings.prompt = "slow red"
    desk.press("refine")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    del bpy.data.objects["Cube"]["sdi_identity"]  # as undo does, after which the module would hang at its own end
    to_the_end_in_the_reopened_file(bpy, desk, tmp_path)
    assert len(bpy.data.objects["Cube"].data.shape_keys.key_blocks) == 2


def test_a_result_that_was_ready_while_another_file_was_open_comes_when_its_file_is_opened_again(
    bpy, desk, cube, tmp_path
):
    for prompt in ("slow red", "slow blue"):
        desk.settings.prompt = prompt
        desk.press("refine")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.press("finish_job")
    desk.until(lambda: desk.job.request.prompt == "slow blue" and desk.job.state == "running")
    desk.press("finish_job")
    desk.to_the_end()
    bpy.ops.wm.open_mainfile(filepath=path)
    desk.to_the_end()
    assert [look.name for look in bpy.data.objects["Cube"].sdi_looks] == ["Before", "slow red", "slow blue"]


def test_of_several_textures_each_is_told_of_its_own(bpy, desk, cube, texture):
    """In the history, too: the panel shows one job only, and the next result took back why another could not come."""
    other = add_object(bpy, "Other", cube.data.copy())
    editor = add_object(bpy, "Editor", cube.data.copy())
    other.select_set(True)
    assert texture() is None
    bpy.context.view_layer.objects.active = editor
    bpy.ops.object.mode_set(mode="EDIT")
    desk.until(lambda: len(desk.arrivals._ready) == 2)
    bpy.data.objects.remove(cube)
    bpy.ops.object.mode_set(mode="OBJECT")
    desk.to_the_end()
    assert materials(other) == [PROMPT]
    assert "“Cube” is no longer in this file" in desk.arrivals.complaint
    panels, labels = desk.extension.panels.jobs, {}
    for entry in desk.session.desks.library.entries:
        layout = MagicMock()
        layout.column.return_value = layout.row.return_value = layout
        panels._draw_chosen(layout, bpy.context, entry, "done")
        labels[entry.placement.target.name] = " ".join(each.kwargs["text"] for each in layout.label.call_args_list)
    assert "Texture for “Cube”" in labels["Cube"]
    assert "no longer in this file" in labels["Cube"]
    assert "Texture for “Other”" in labels["Other"]
    assert "no longer" not in labels["Other"]


def test_a_damaged_texture_is_told_and_changes_nothing(desk, cube, texture):
    texture("garbage")
    desk.to_the_end()
    assert "cannot be read" in desk.arrivals.complaint
    assert (materials(cube), len(cube.sdi_looks)) == (["Material"], 0)


def test_variations_are_further_looks_of_the_object(bpy, desk, cube, texture):
    cube.data.uv_layers.remove(cube.data.uv_layers[0])
    cube.data.update_tag()
    texture()
    desk.to_the_end()
    assert desk.arrivals.complaint == ""
    assert desk.press("variations", job=desk.job.name, count=2) is None
    desk.to_the_end()
    assert [look.name for look in cube.sdi_looks] == ["Before", PROMPT, PROMPT, PROMPT]
    assert len({look.seed for look in cube.sdi_looks if look.job}) == 3
    assert [layer.name for layer in cube.data.uv_layers] == ["SDI"]
    assert desk.press("show_look", index=1) is None
    assert materials(cube) == [PROMPT]
    assert desk.press("remove_look", index=1) is None
    assert materials(cube) == ["Material"]
    assert "not removed" in desk.press("remove_look", index=0)
    bpy.data.objects.remove(cube)
    assert "not in this file" in desk.press("variations", job=desk.job.name, count=1)


def test_regenerate_of_a_textures_job_is_a_texture_again(desk, cube, texture):
    texture()
    desk.to_the_end()
    assert desk.press("regenerate", job=desk.job.name) is None
    desk.to_the_end()
    assert [entry.state for entry in desk.session.desks.library.entries] == ["done", "done"]
    first, second = (look.seed for look in cube.sdi_looks if look.job)
    assert first == second


def test_settings_of_a_texture_are_reused_and_generate_still_makes_objects(bpy, desk, cube, texture):
    texture("red", strength=0.5, front=90.0)
    desk.to_the_end()
    desk.settings.strength, desk.settings.front, desk.settings.prompt = 1.0, 0.0, "blue"
    assert desk.press("copy_settings", job=desk.job.name) is None
    assert (desk.settings.prompt, desk.settings.strength, desk.settings.front) == ("red", 0.5, 90.0)
    assert desk.press("set_front", front=180.0) is None
    assert desk.settings.front == 180.0
    for wrong in (math.nan, math.inf, -1000.0):
        assert "must be between -360 and 360 degrees" in desk.press("set_front", front=wrong)
        assert desk.settings.front == 180.0
    desk.generate("a mug")
    desk.to_the_end()
    assert "a mug" in bpy.data.objects


def test_a_script_without_a_window_waits_for_it(bpy, extension):
    cube = bpy.data.objects["Cube"]
    bpy.context.scene.sdi.prompt = PROMPT
    assert bpy.ops.sdi.texture() == {"FINISHED"}
    assert materials(cube) == [PROMPT]
    bpy.context.scene.sdi.prompt = "fail 4 times"
    with pytest.raises(RuntimeError, match="failed as it was told"):
        bpy.ops.sdi.texture()
    assert materials(cube) == [PROMPT]


def test_it_is_drawn(bpy, desk, cube, texture):
    """All rows, by a layout that knows what Blender's takes."""
    texture()
    desk.to_the_end()
    drawn = []

    class Layout:
        def __getattr__(self, name):
            return lambda *arguments, **more: drawn.append((name, *arguments, more)) or Layout()

        def __setattr__(self, name, value):
            pass

    class Panel:
        layout = Layout()

    extension = desk.extension
    extension.panels.texture.SDI_PT_texture.draw(Panel, bpy.context)
    extension.panels.texture.draw_buttons(Layout(), bpy.context)
    names = [each[1] for each in drawn if each[0] == "operator"]
    assert names.count("sdi.show_look") == 2
    assert {"sdi.restore_materials", "sdi.variations", "sdi.texture", "sdi.refine", "sdi.remove_look"} <= set(names)
    assert ("operator", "sdi.texture", {"text": "Texture “Cube”", "icon": "TEXTURE"}) in drawn


def test_a_job_whose_mesh_found_no_room_gets_it_when_the_rest_is_added(bpy, desk, cube, texture, monkeypatch):
    other = add_object(bpy, "Other", cube.data.copy())
    other.location.x = 5.0
    other.select_set(True)
    written, room = [], [False]
    extension = desk.extension
    original = extension.scene.source_mesh.Source.write

    def write(source, path):
        if written and not room[0]:
            raise extension.sdi_engine.errors.StorageError("The disk is full: free some space, then resume the job.")
        written.append(path)
        original(source, path)

    monkeypatch.setattr(extension.scene.source_mesh.Source, "write", write)
    submissions = desk.session.submissions
    assert texture() is None
    desk.until(lambda: submissions.complaint)
    assert submissions.complaint.startswith("1 of 2 objects are in the queue")
    room[0] = True
    assert desk.press("add_the_rest") is None
    desk.until(lambda: not submissions.has_more)
    assert len(set(written)) == 2
    assert all(path.is_file() for path in written)
