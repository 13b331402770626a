"""What the panel says about a finished object's whereabouts is true."""

import json

import pytest
from blender_desk import PROMPT


@pytest.fixture
def made(desk):
    """A finished job."""
    desk.generate()
    desk.to_the_end()
    return desk


def said(desk):
    return desk.session.whereabouts.of(desk.bpy.context, desk.job)


def test_it_stands_in_the_scene_until_it_is_deleted(bpy, made):
    assert said(made) == ("Done: it is in the scene.", True)
    bpy.data.objects[PROMPT].name = "my mug"
    assert said(made)[1]
    bpy.data.objects.remove(bpy.data.objects["my mug"])
    assert said(made) == ("Done, but the object is no longer in this file: it was deleted, or undone.", False)
    assert made.press("import_result") is None
    assert said(made)[1]


def test_undo_takes_it_out_and_redo_brings_it_back(bpy, desk):
    bpy.ops.ed.undo_push(message="before")
    desk.generate()
    desk.to_the_end()
    bpy.ops.ed.undo()
    assert not said(desk)[1]
    bpy.ops.ed.redo()
    assert said(desk)[1]


def test_a_copy_that_is_left_is_found(bpy, made):
    bpy.ops.object.duplicate()
    bpy.data.objects.remove(bpy.data.objects[PROMPT])
    assert said(made)[1]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("excluded", "“SDI” is excluded from this view layer"),
        ("hidden", "hidden: show it in the Outliner"),
        ("collection hidden", "hidden: show it in the Outliner"),
        ("unlinked", "is in no scene any more"),
        ("another scene", "it is in the scene “Scene”, which is not the one shown"),
    ],
)
def test_an_object_that_cannot_be_seen_is_not_reported_as_visible(bpy, made, how, words):
    placed, layer = bpy.data.objects[PROMPT], bpy.context.view_layer.layer_collection.children["SDI"]
    if how == "excluded":
        layer.exclude = True
    elif how == "hidden":
        placed.hide_set(True)
    elif how == "collection hidden":
        layer.hide_viewport = True
    elif how == "unlinked":
        bpy.data.collections["SDI"].objects.unlink(placed)
    else:
        bpy.context.window.scene = bpy.data.scenes.new("Another")
    bpy.context.view_layer.update()
    sentence, is_seen = said(made)
    assert words in sentence
    assert not is_seen


def test_an_object_outside_of_the_local_view_is_not_looked_for_in_the_outliner(bpy, made):
    window = bpy.context.window_manager.windows[0]
    area = next(each for each in window.screen.areas if each.type == "VIEW_3D")
    region = next(each for each in area.regions if each.type == "WINDOW")
    bpy.ops.object.select_all(action="DESELECT")
    bpy.data.objects["Cube"].select_set(True)
    with bpy.context.temp_override(window=window, area=area, region=region):
        assert said(made)[1]
        bpy.ops.view3d.localview()
        sentence, is_seen = said(made)
        assert "not in this local view: leave that" in sentence
        assert not is_seen
        bpy.ops.view3d.localview()
        assert said(made)[1]


def test_an_object_imported_into_another_file_names_that_file(bpy, made, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "kitchen.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    assert said(made) == (f"Done: it was made for “kitchen.blend” in {tmp_path}.", False)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "kitchen.blend"))
    assert said(made)[1]


def test_a_result_for_another_file_is_found_and_can_be_imported(bpy, desk, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "kitchen.blend"))
    desk.generate()
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.to_the_end()
    assert said(desk) == (f"The object is ready: it was made for “kitchen.blend” in {tmp_path}.", False)
    assert desk.session.desks.entry(desk.job.name).placement.blend_file == str(tmp_path / "kitchen.blend")
    assert desk.press("import_result") is None
    assert said(desk)[1]


def test_the_first_save_after_generate_tells_where_it_belongs(bpy, desk, tmp_path):
    desk.generate("slow mug")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "kitchen.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    desk.press("finish_job")
    desk.to_the_end()
    assert "“kitchen.blend”" in said(desk)[0]


def test_a_result_for_an_unsaved_file_says_so(bpy, desk):
    desk.generate()
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.to_the_end()
    assert said(desk)[0] == "The object is ready: it was made for another file, which had not been saved."


def test_a_result_not_started_from_blender_is_in_no_file(bpy, made, results):
    (placement,) = results.glob("*/placement.json")
    assert json.loads(placement.read_text())["fate"] == "imported"
    job = made.job
    made.renew_session()
    bpy.data.objects.remove(bpy.data.objects[PROMPT])
    assert made.session.whereabouts.of(bpy.context, job) == (
        "The object is ready; it was not put into this file.",
        False,
    )
