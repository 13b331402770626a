"""A person's whole way through a real Blender's window: tab, prompt, Generate, object, undo; and Cancel.

Runs where a suite of `real_blender.py` is installed. `SDI_REQUIRE_WINDOW=1` makes its absence a failure;
`SDI_PICTURES` names a folder for pictures of the screen.
"""

from __future__ import annotations

import sys
import time

import pytest
from installed import EXTENSION, SESSION, take_picture

PROMPT = "a red mug"
STEPS = 4
SETTINGS = {"preset": "draft", "steps": STEPS, "texture_size": 256, "face_budget": 2000, "device": "cpu"}
JOB_SECONDS = 900
LONGEST_GRIP_SECONDS = 1.0
LONGEST_IMPORT_SECONDS = 5.0


@pytest.fixture
def window(kept_window):
    """A window ready for Generate: an empty floor, the tab open and the prompt typed; all tests use one engine."""
    window = kept_window.anew([sys.executable], "results")
    assert window.ask(f"[setattr(bpy.context.scene.sdi, *item) for item in {list(SETTINGS.items())}]")
    window.click_tab("SDI")
    window.hover_viewport()
    window.key("Delete")
    window.wait_until("'Cube' not in bpy.context.scene.objects")
    window.type_into("prompt", PROMPT)
    window.wait_until(f"bpy.context.scene.sdi.prompt == {PROMPT!r}")
    return window


@pytest.fixture
def picture():
    def take(window, name, wait=0.7):
        take_picture(window, f"window-{window.blender.root.name}-{name}", wait)

    return take


def test_a_prompt_becomes_an_object_and_undo_takes_it_back(window, picture, record_property):
    picture(window, "1-before")

    assert window.ask(f"grip.watch({EXTENSION!r}) and pulse.reset()")
    window.press("sdi.generate")
    window.wait_until(f"{SESSION}.watcher.is_busy()", timeout=10)
    meanwhile = _work_on(window)
    grip, stall = _watch_the_job(window, picture)
    assert _state(window) == "done", window.ask(
        f"{SESSION}.display.job.failure and {SESSION}.display.job.failure.message"
    )
    window.wait_until(f"{PROMPT!r} in bpy.context.scene.objects", timeout=30)
    import_grip = window.ask("[grip.longest, grip.where]")
    record_property("longest stall, by us, of the import", [stall, grip, import_grip])

    after = window.ask("lasting_objects()")
    assert set(after) - set(meanwhile) == {PROMPT}
    mug = after[PROMPT]
    assert mug["type"] == "MESH"
    assert mug["collections"] == ["SDI"]
    assert mug["selected"]
    assert mug["faces"] > 50
    assert mug["uv"]
    assert mug["textured"] == [True]
    assert mug["low"][2] == pytest.approx(0.0, abs=1e-3), "it does not stand on the ground"
    assert mug["high"][2] == pytest.approx(1.0, abs=1e-2), "it is not as high as the setting Size says"
    for axis in (0, 1):
        assert mug["low"][axis] + mug["high"][axis] == pytest.approx(0.0, abs=0.02), "it is not at the cursor"
    assert grip[0] < LONGEST_GRIP_SECONDS, f"{grip[1]} held Blender up for {grip[0]:.2f} s while the job ran"
    assert import_grip[0] < LONGEST_IMPORT_SECONDS, f"the import held Blender up for {import_grip[0]:.2f} s"

    assert window.ask("show_object()")
    picture(window, "3-after", wait=2.0)

    window.hover_viewport()
    window.key("ctrl+z")
    window.wait_until(f"{PROMPT!r} not in bpy.data.objects", timeout=10)
    assert window.ask("lasting_objects()") == meanwhile, "undo took back more than the object"
    assert window.ask("bpy.context.scene.sdi.prompt") == PROMPT
    picture(window, "4-undone")

    window.key("ctrl+shift+z")
    window.wait_until(f"{PROMPT!r} in bpy.context.scene.objects", timeout=10)
    assert window.ask("lasting_objects()")[PROMPT]["textured"] == [True]


def test_a_texture_comes_onto_the_monkey_and_undo_takes_it_back(window, picture):
    assert window.ask("add_monkey()")
    before = window.ask("lasting_objects()")
    window.press("sdi.texture")
    window.wait_until(f"{SESSION}.watcher.is_busy()", timeout=10)
    window.wait_until(f"{SESSION}.display.job.is_over and not {SESSION}.watcher.is_busy()", timeout=JOB_SECONDS)
    assert _state(window) == "done", window.ask(
        f"{SESSION}.display.job.failure and {SESSION}.display.job.failure.message"
    )
    assert window.ask(f"{SESSION}.arrivals.complaint") == ""
    after = window.ask("lasting_objects()")
    assert set(after) == set(before)
    assert after["Suzanne"]["textured"] == [True]
    assert after["Suzanne"]["faces"] == before["Suzanne"]["faces"]
    assert window.ask("show_object()")
    picture(window, "7-textured", wait=2.0)

    window.hover_viewport()
    window.key("ctrl+z")
    window.wait_until("not bpy.data.objects['Suzanne'].material_slots", timeout=10)
    assert window.ask("lasting_objects()") == before, "undo took back more than the texture"
    window.key("ctrl+shift+z")
    window.wait_until("len(bpy.data.objects['Suzanne'].material_slots) == 1", timeout=10)


def test_strokes_count_before_sculpt_mode_is_left(window):
    assert window.ask("add_monkey()")
    sculpted, left = window.ask(f"sculpt_monkey(sys.modules['{EXTENSION}.scene.source_mesh'])")
    assert sculpted == pytest.approx(left)
    assert left > 1.5  # it was a metre high


def test_cancel_ends_the_job_and_leaves_the_scene_alone(window, picture):
    before = window.ask("lasting_objects()")
    window.ask("setattr(bpy.context.scene.sdi, 'steps', 100000)")
    window.press("sdi.generate")
    window.wait_until(f"{SESSION}.display.job.progress is not None", timeout=120)
    window.press("sdi.cancel_job")
    window.wait_until(f"{SESSION}.display.job.is_over", timeout=60)
    assert _state(window) == "cancelled"
    assert window.ask("lasting_objects()") == before
    picture(window, "5-cancelled")


def test_a_job_outlives_a_crash_of_blender(window, picture):
    window.press("sdi.generate")
    window.wait_until(f"{SESSION}.display.job.progress is not None", timeout=120)
    assert not window.ask(f"{SESSION}.display.job.is_over")
    window.crash_and_start_again()
    window.wait_until(f"{SESSION}.display.job is not None", timeout=30)
    assert window.ask(f"{SESSION}.display.job.request.prompt") == PROMPT
    window.wait_until(f"{SESSION}.display.job.is_over", timeout=JOB_SECONDS)
    assert _state(window) == "done"
    window.click_tab("SDI")
    picture(window, "6-found-again")
    window.press("sdi.import_result")
    window.wait_until(f"{PROMPT!r} in bpy.context.scene.objects", timeout=30)


def _state(window):
    return window.ask(f"{SESSION}.display.job.state")


def _work_on(window):
    """Select everything while the job runs, as a person does who keeps working; returns the objects."""
    assert not any(thing["selected"] for thing in window.ask("lasting_objects()").values())
    window.hover_viewport()
    window.key("a")
    window.wait_until("all(thing['selected'] for thing in lasting_objects().values())", timeout=10)
    assert not window.ask(f"{SESSION}.display.job.is_over"), "the job was over too soon to tell"
    return window.ask("lasting_objects()")


def _watch_the_job(window, picture):
    """Wait until the job is over; returns how long Blender was blocked at most, by the extension and in all."""
    held = ((0.0, ""), 0.0)
    taken = False
    until = time.monotonic() + JOB_SECONDS
    while time.monotonic() < until:
        over, has_preview, grip, stall = window.ask(
            f"[(job := {SESSION}.display.job).is_over, job.preview is not None, [grip.longest, grip.where],"
            " pulse.longest]",
            timeout=60,
        )
        if over:
            assert taken, "the job was over before it had shown a preview"
            return held
        held = grip, stall
        if has_preview and not taken:
            picture(window, "2-during", wait=1.5)  # Blender loads the preview in the background
            taken = True
        time.sleep(0.1)
    raise AssertionError(f"the job was not over after {JOB_SECONDS} s:\n{window.log()[-3000:]}")
