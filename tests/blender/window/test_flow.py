"""Everything that can be done in the tab, by mouse and keys, with an engine that does what its prompt says.

Runs where `test_window.py` does, by the same rules, and leaves the same kind of pictures.
"""

from __future__ import annotations

import sys
import time

import pytest
from installed import ARRIVALS, EXTENSION, REPOSITORY, SESSION, SETUP, take_picture

FAKE = [sys.executable, str(REPOSITORY / "tests" / "jobs" / "fake_worker.py")]
LEFT, LOOK, BESIDE, CLOSE = 0.25, 0.755, 0.82, 0.82
"""Where in the sidebar these buttons are, as shares of its width."""

ROW = 24
"""The distance between rows of buttons, in pixels."""

JOBS = "[item.prompt for item in bpy.context.window_manager.sdi_jobs]"


@pytest.fixture
def window(kept_window, request):
    """A window with an empty floor, no history, and the tab open."""
    window = kept_window.anew(FAKE, f"results of {request.node.name}")
    window.click_tab("SDI")
    window.hover_viewport()
    window.key("Delete")
    window.wait_until("'Cube' not in bpy.context.scene.objects")
    return window


@pytest.fixture
def picture():
    def take(window, name):
        take_picture(window, f"flow-{window.blender.root.name}-{name}")

    return take


def start(window, prompt):
    window.type_into("prompt", prompt)
    window.press("sdi.generate")


def state(window):
    return window.ask(f"{SESSION}.display.job and {SESSION}.display.job.state")


def until_running(window):
    window.wait_until(f"{SESSION}.display.job is not None and {SESSION}.display.job.state == 'running'", timeout=30)


def markers(window):
    return window.ask("[thing.name for thing in bpy.data.objects if thing.get('sdi_part') == 'marker']")


def test_a_run_outlives_blender_and_is_taken_when_it_is_good_enough(window, picture):
    start(window, "slow mug")
    until_running(window)
    assert markers(window) == ["slow mug (place)"]
    window.wait_until("any('(live)' in thing.name for thing in bpy.data.objects)", timeout=10)
    picture(window, "1-running-with-live-object")

    window.quit_and_start_again()
    window.wait_until(f"{SESSION}.display.job is not None", timeout=30)
    assert window.ask(f"{SESSION}.display.job.request.prompt") == "slow mug"
    assert state(window) == "running"
    window.click_tab("SDI")
    picture(window, "2-found-again-still-running")

    window.press("sdi.finish_job")
    window.wait_until(f"{SESSION}.display.job.state == 'done'", timeout=30)
    assert "slow mug" not in window.ask("objects()")  # it was not started in this file
    picture(window, "3-ready-in-another-file")
    window.press("sdi.import_result")
    window.wait_until("'slow mug' in bpy.context.scene.objects", timeout=30)
    assert window.ask("objects()")["slow mug"]["selected"]
    picture(window, "4-imported")

    window.hover_viewport()
    window.key("ctrl+z")
    window.wait_until("'slow mug' not in bpy.data.objects", timeout=10)
    window.wait_until("not [thing for thing in bpy.data.objects if 'sdi_job' in thing]", timeout=10)
    window.ask("bpy.data.orphans_purge() or True")
    assert not window.ask("[mesh.name for mesh in bpy.data.meshes if 'mug' in mesh.name]")
    assert not window.ask("[material.name for material in bpy.data.materials if 'mug' in material.name]")
    assert not window.ask("[image.name for image in bpy.data.images if 'mug' in image.name]")


def test_a_file_that_is_opened_again_gets_all_that_was_finished_meanwhile(window, picture):
    start(window, "slow mug")
    until_running(window)
    start(window, "a red mug")
    window.wait_until("len([thing for thing in bpy.data.objects if thing.get('sdi_part') == 'marker']) == 2")
    file = str(window.blender.home / "scene.blend")
    window.ask(f"list(bpy.ops.wm.save_as_mainfile(filepath={file!r}))")

    window.quit_and_start_again()
    window.wait_until(f"{SESSION}.display.job is not None", timeout=30)
    window.click_tab("SDI")
    window.press("sdi.finish_job")
    window.wait_until(f"{{each.state for each in {SESSION}.desks.library.entries}} == {{'done'}}", timeout=30)
    assert not {"slow mug", "a red mug"} & window.ask("objects()").keys()

    window.ask(f"list(bpy.ops.wm.open_mainfile(filepath={file!r}))")
    window.wait_until("{'slow mug', 'a red mug'} <= set(bpy.context.scene.objects.keys())", timeout=30)
    window.wait_until("not [thing for thing in bpy.data.objects if 'sdi_job' in thing]", timeout=10)
    picture(window, "1-all-came")


def test_the_marker_is_moved_by_hand_and_the_object_comes_there(window, picture):
    start(window, "slow mug")
    until_running(window)
    window.hover_viewport()
    window.key("a")
    window.wait_until("objects()['slow mug (place)']['selected']", timeout=10)
    window.key("g", "x", "3", "Return")
    window.wait_until("any(thing.location.x == 3 for thing in bpy.data.objects)", timeout=10)
    picture(window, "5-marker-moved")
    window.press("sdi.finish_job")
    window.wait_until("'slow mug' in bpy.data.objects", timeout=30)
    assert window.ask("list(bpy.data.objects['slow mug'].location)") == [3.0, 0.0, 0.0]
    assert not markers(window)


def test_while_a_simulation_is_baked_nothing_comes_into_the_scene(window):
    """The bake's own thread reads the scene, and Blender says by a lock that it must not change."""
    start(window, "slow mug")
    until_running(window)
    file = str(window.blender.home / "simulated.blend")
    window.ask(f"list(bpy.ops.wm.save_as_mainfile(filepath={file!r}))")  # the bake is beside it
    window.ask("bake_simulation()")
    window.wait_until("bpy.context.window_manager.is_interface_locked", timeout=10)
    window.ask(f"{SESSION}.display.job.finish() or True")
    window.wait_until(f"{ARRIVALS}.waits_for", timeout=30)
    assert "when the bake, import or export is done" in window.ask(f"{ARRIVALS}.waits_for")
    assert window.ask("bpy.context.window_manager.is_interface_locked")
    assert "slow mug" not in window.ask("bpy.data.objects.keys()")
    window.hover_viewport()
    window.key("Escape")
    window.wait_until("'slow mug' in bpy.context.scene.objects", timeout=30)
    assert not markers(window)


def test_pause_resume_cancel(window, picture):
    start(window, "slow mug")
    until_running(window)
    window.press("sdi.pause_job", at=LEFT)
    window.wait_until(f"{SESSION}.display.job.state == 'paused'", timeout=20)
    window.wait_until(f"{SESSION}.desks.runner.engine is None", timeout=20)
    picture(window, "6-paused")
    window.press("sdi.resume_job")
    window.wait_until("'slow mug' in bpy.data.objects", timeout=30)

    start(window, "hang mug")
    until_running(window)
    window.press("sdi.cancel_job")
    window.wait_until(f"{SESSION}.display.job.is_over", timeout=30)  # it ignores the flag, and is killed
    assert state(window) == "cancelled"
    assert not markers(window)
    picture(window, "7-cancelled")


def test_queue_and_history(window, picture):
    start(window, "slow mug")
    until_running(window)
    for prompt in ("a blue mug", "a green mug"):
        start(window, prompt)
    window.wait_until(f"len({JOBS}) == 3", timeout=20)
    assert len(markers(window)) == 3
    window.unfold("SDI_PT_jobs", beside="SDI_PT_generate")
    window.ask(f"setattr(bpy.context.window_manager, 'sdi_job_index', {JOBS}.index('a green mug')) or True")
    window.ask("viewport()[2].tag_redraw() or True")
    picture(window, "8-queue")
    assert window.ask(f"[t.name.rpartition('-a-')[2] for t in {SESSION}.desks.runner.queue.waiting()]") == [
        "blue-mug",
        "green-mug",
    ]
    x, between = window.find("sdi.move_job", at=BESIDE)  # of the two buttons, of which the upper one is meant
    window.click(x, between + 10)
    window.wait_until(f"{SESSION}.desks.runner.queue.waiting()[0].name.endswith('green-mug')", timeout=10)
    window.press("sdi.finish_job")
    window.wait_until(f"not {SESSION}.watcher.is_busy()", timeout=60)
    assert {"slow mug", "a blue mug", "a green mug"} <= set(window.ask("objects()"))
    window.turn_wheel(-20)  # the panels above have become longer
    picture(window, "9-history")

    window.press("sdi.delete_job", at=BESIDE)
    time.sleep(0.5)
    picture(window, "10-asks-before-it-deletes")
    window.key("Return")
    window.wait_until(f"len({JOBS}) == 2", timeout=10)


def test_a_2d_preview_comes_first(window, picture):
    window.type_into("prompt", "a red mug")
    window.press("sdi.preview_2d", at=LOOK)
    window.wait_until(f"{SESSION}.display.preview_2d is not None and {SESSION}.display.preview_2d.is_over", timeout=30)
    picture(window, "11-look-in-2d")
    window.ask("setattr(bpy.context.scene.sdi, 'seed', 77) or True")
    window.press("sdi.use_seed", at=LEFT)
    window.wait_until("bpy.context.scene.sdi.seed == 0", timeout=10)
    window.press("sdi.close_preview_2d", at=CLOSE)
    window.wait_until(f"{SESSION}.display.preview_2d is None", timeout=10)


def test_what_the_model_knows_is_a_click_away(window, picture):
    window.type_into("prompt", "a shiny mug")
    drawn = window.ask("times_drawn('SDI_PT_vocabulary')")
    x, y = window.find("preset")
    window.click(x, y + ROW)  # a popover's button tells neither property nor operator: it is the row above
    window.wait_until(f"times_drawn('SDI_PT_vocabulary') > {drawn}", timeout=10)
    picture(window, "14-what-it-knows")


def test_every_end_is_explained_in_one_sentence(window, picture):
    for prompt, words in (
        ("crash mug", "unexpected error"),
        ("kill mug", "killed (SIGKILL)"),
        ("fail 5 mugs", "It failed as it was told"),
        ("quit mug", "no result"),
    ):
        start(window, prompt)
        window.wait_until(
            f"{SESSION}.display.job is not None and {SESSION}.display.job.request.prompt == {prompt!r}", timeout=30
        )
        window.wait_until(f"{SESSION}.display.job.is_over", timeout=30)
        assert words in window.ask(f"{SESSION}.display.job.failure.message")
        assert not markers(window)
        picture(window, f"12-{prompt.split()[0]}")


def test_an_invalid_mesh_is_reported_and_changes_nothing(window, picture):
    before = window.ask("objects()")
    start(window, "garbage mug")
    window.wait_until(f"{ARRIVALS}.complaint", timeout=30)
    assert "cannot be read" in window.ask(f"{ARRIVALS}.complaint")
    picture(window, "13-garbage")
    window.press("sdi.dismiss_job")
    window.wait_until(f"{SESSION}.display.job is None", timeout=10)
    assert window.ask("objects()") == before


def test_what_the_first_start_shows(window, picture):
    """Before the engine has a Python with torch: a hint, and the way to the cure."""
    window.ask(f"setattr(bpy.context.preferences.addons['{EXTENSION}'].preferences, 'engine_python', '/bin/false')")
    window.ask(f"{SETUP}.glance() or True")
    window.wait_until(f"{SETUP}.hint()", timeout=30)
    window.hover_viewport()
    picture(window, "0-first-start")
    window.press("sdi.open_preferences")
    window.wait_until("len(bpy.context.window_manager.windows) == 2", timeout=20)
    picture(window, "0-preferences")
    window.ask("close_others() or True")
