"""The extension in a Blender with a window and timers: here the test ticks them, and `background` is made False."""

import json
import os
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from blender_desk import PROMPT


def test_a_cursor_that_is_nowhere_is_taken_to_the_middle(bpy, desk):
    bpy.context.scene.cursor.location = (float("nan"), 3.0, float("inf"))
    assert desk.arrivals.placement_at_cursor(bpy.context).location == (0.0, 3.0, 0.0)


def test_the_result_is_one_undo_step(bpy, desk):
    bpy.context.scene.cursor.location = (5.0, 0.0, 0.0)
    bpy.ops.ed.undo_push(message="before")
    desk.generate()
    bpy.context.scene.cursor.location = (0.0, 0.0, 0.0)
    assert desk.session.watcher.is_busy()
    assert desk.job.request.prompt == PROMPT  # shown at once, before the engine has reported anything
    assert len(desk.helpers()) >= 2  # the marker and its box are there at once
    desk.to_the_end()
    assert not desk.helpers()
    assert bpy.data.objects[PROMPT].location.x == 5.0
    assert [each.name for each in bpy.context.selected_objects] == [PROMPT]
    bpy.ops.ed.undo()
    desk.arrivals.remove_stale()
    assert PROMPT not in bpy.data.objects
    assert not desk.helpers()
    assert [each.name for each in bpy.context.selected_objects] == ["Cube"]
    bpy.ops.ed.redo()
    assert PROMPT in bpy.data.objects


@pytest.mark.parametrize("button", ["generate", "texture"])
def test_the_last_operation_is_no_longer_the_persons(bpy, desk, button):
    """Blender would still show its settings, and a change there would go back to before it, without the result."""
    desk.settings.prompt = PROMPT
    desk.press(button)
    bpy.ops.object.empty_add("EXEC_DEFAULT", True)
    desk.to_the_end()
    assert [each.bl_idname for each in bpy.context.window_manager.operators] == ["OBJECT_OT_empty_add", "SDI_OT_step"]


def test_after_more_operations_than_blender_notes_it_is_still_one_undo_step(bpy, extension):
    bpy.ops.ed.undo_push(message="before")
    for number in range(40):  # it notes 32
        bpy.data.objects["Cube"].location.x = number
        extension.scene.step.push()
    bpy.ops.ed.undo()
    assert bpy.data.objects["Cube"].location.x == 38.0


def test_what_another_operator_brings_in_is_one_undo_step_too(bpy, desk):
    bpy.ops.ed.undo_push(message="before")
    desk.generate()
    desk.to_the_end()
    bpy.ops.ed.undo()
    assert PROMPT not in bpy.data.objects
    assert desk.press("import_result", job=desk.job.name) is None
    assert PROMPT in bpy.data.objects
    bpy.ops.ed.undo()
    assert PROMPT not in bpy.data.objects
    assert "Cube" in bpy.data.objects


def test_the_marker_can_be_moved_while_the_job_runs(bpy, desk):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    marker = desk.extension.scene.markers.find(desk.job.name)
    marker.location, marker.rotation_euler.z, marker.scale = (1.0, 2.0, 3.0), 0.5, (2.0, 2.0, 2.0)
    desk.press("finish_job")
    desk.to_the_end()
    placed = bpy.data.objects["slow mug"]
    assert tuple(placed.location) == (1.0, 2.0, 3.0)
    assert placed.rotation_euler.z == pytest.approx(0.5)
    assert tuple(placed.scale) == (1.0, 1.0, 1.0)
    assert placed.dimensions.z == pytest.approx(2.0)


def test_it_grows_in_the_scene_and_can_be_hidden(bpy, desk):
    desk.generate("slow mug")
    desk.until(lambda: any("(live)" in name for name in desk.helpers()))
    live = next(bpy.data.objects[name] for name in desk.helpers() if "(live)" in name)
    assert len(live.data.polygons) == 4
    assert not live.select_get()
    assert bpy.context.view_layer.objects.active.name == "Cube"
    assert desk.job.folder.live_flag.exists()
    desk.settings.live = False
    assert not desk.job.folder.live_flag.exists()
    desk.press("cancel_job")
    desk.to_the_end()
    assert not desk.helpers()
    assert not [mesh for mesh in bpy.data.meshes if "(live)" in mesh.name]


def test_several_wait_in_a_row_and_come_one_by_one(bpy, desk, tmp_path):
    (tmp_path / "prompts.txt").write_text("# three\na red mug\na blue mug\n\na green mug\n")
    assert desk.press("generate_from_file", filepath=str(tmp_path / "prompts.txt")) is None
    desk.to_the_end()
    xs = [bpy.data.objects[f"a {colour} mug"].location.x for colour in ("red", "blue", "green")]
    assert xs == pytest.approx([2.0, 3.5, 5.0])  # beside the cube, which reaches to 1
    assert sorted(desk.list()) == ["a blue mug", "a green mug", "a red mug"]


def test_a_file_without_prompts_is_refused(desk, tmp_path):
    (tmp_path / "prompts.txt").write_text("# nothing\n")
    assert "has no prompts" in desk.press("generate_from_file", filepath=str(tmp_path / "prompts.txt"))
    assert "has no prompts" in desk.session.display.complaint
    assert "is a folder: choose the text file" in desk.press("generate_from_file", filepath=str(tmp_path))


def test_the_queue_can_be_reordered_and_shortened(desk):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    for prompt in ("one", "two", "three"):
        desk.generate(prompt)
    jobs = {job.request.prompt: job for job in desk.session.desks.runner.jobs.values()}
    desk.until(lambda: len(desk.list()) == 4)
    desk.bpy.context.window_manager.sdi_job_index = desk.list().index("three")
    assert desk.press("move_job", job=jobs["three"].name, by=-1) is None
    assert desk.press("cancel_job", job=jobs["two"].name) is None
    desk.tick()
    assert [ticket.name for ticket in desk.session.desks.runner.waiting] == [jobs["one"].name, jobs["three"].name]
    assert desk.job.request.prompt == "slow mug"  # it is still the one that is shown
    assert len(desk.helpers()) >= 6
    desk.press("finish_job")
    desk.to_the_end()
    assert {"slow mug", "one", "three"} <= {thing.name for thing in desk.bpy.data.objects}
    assert "two" not in desk.bpy.data.objects


def test_the_result_comes_into_its_scene_though_that_was_renamed_and_another_is_shown(bpy, desk):
    scene = bpy.context.scene
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    scene.name = "Renamed"
    bpy.context.window.scene = bpy.data.scenes.new("Other")
    desk.press("finish_job")
    desk.to_the_end()
    assert [each.name for each in bpy.data.objects["slow mug"].users_scene] == ["Renamed"]


def test_the_result_waits_until_edit_mode_is_left_in_another_scene(bpy, desk):
    """Its undo step would be one of the edited mesh, and the next undo would lose it for good."""
    assert desk.generate() is None
    here, there = bpy.context.scene, bpy.data.scenes.new("Other")
    bpy.context.window.scene = there
    edited = bpy.data.objects.new("edited", bpy.data.meshes.new("edited"))
    there.collection.objects.link(edited)
    bpy.context.view_layer.objects.active = edited
    bpy.ops.object.mode_set(mode="EDIT")
    desk.until(lambda: desk.arrivals.waits_for)
    assert desk.arrivals.waits_for == "The object is ready: it comes into the scene when you leave Edit Mode."
    bpy.ops.object.mode_set(mode="OBJECT")
    desk.to_the_end()
    assert PROMPT in here.objects


def test_the_result_waits_until_edit_mode_is_left(bpy, desk):
    desk.generate()
    bpy.ops.object.mode_set(mode="EDIT")
    desk.until(lambda: desk.arrivals.waits_for)
    assert "leave Edit Mode" in desk.arrivals.waits_for
    assert desk.session.watcher.is_busy()
    assert PROMPT not in bpy.data.objects
    bpy.ops.object.mode_set(mode="OBJECT")
    desk.to_the_end()
    assert PROMPT in bpy.data.objects
    assert desk.arrivals.waits_for == ""


def test_while_blender_renders_markers_neither_come_nor_go(bpy, desk, monkeypatch):
    """The render's own thread reads the scene, and Blender crashes where it changes."""
    rendering = [True]
    monkeypatch.setattr(desk.extension.scene.destination, "work_of_blender", lambda: "render" if rendering[0] else "")
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.live_step is not None)
    assert not desk.helpers()
    rendering[0] = False
    desk.until(lambda: len(desk.helpers()) == 3)
    rendering[0] = True
    assert desk.press("cancel_job") is None
    desk.until(lambda: desk.job.is_over)
    desk.tick()
    assert len(desk.helpers()) == 3
    assert desk.session.watcher.is_busy()  # or the timer would end before the render
    rendering[0] = False
    desk.tick()
    assert not desk.helpers()
    assert not desk.session.watcher.is_busy()


@pytest.mark.parametrize("click", ["dismiss_job", "delete_job"])
def test_a_job_that_is_given_up_while_blender_renders_loses_its_marker_afterwards(bpy, desk, monkeypatch, click):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    rendering = [True]
    monkeypatch.setattr(desk.extension.scene.destination, "work_of_blender", lambda: "render" if rendering[0] else "")
    assert desk.press("cancel_job") is None
    desk.until(lambda: desk.job.is_over)
    assert desk.press(click) is None
    desk.tick()
    assert desk.helpers()
    assert desk.session.watcher.is_busy()
    rendering[0] = False
    desk.tick()
    assert not desk.helpers()
    assert not desk.session.watcher.is_busy()


def test_while_blender_renders_nothing_is_put_into_the_scene_or_taken_from_it_by_a_click(bpy, desk, monkeypatch):
    desk.generate()
    desk.to_the_end()
    buttons = ("import_result", "texture", "refine")
    assert all(map(desk.can_press, buttons))
    monkeypatch.setattr(desk.extension.scene.destination, "work_of_blender", lambda: "render")
    assert not any(map(desk.can_press, buttons))


@pytest.mark.parametrize(
    ("running", "is_locked", "work"),
    [
        ((), False, ""),
        (("RENDER",), True, "render"),
        (("RENDER_PREVIEW", "SHADER_COMPILATION"), False, ""),
        (("OBJECT_BAKE",), False, "bake, import or export"),
        ((), True, "bake, import or export"),
    ],
)
def test_the_scene_is_in_use_by_all_that_locks_the_interface(extension, monkeypatch, running, is_locked, work):
    destination = extension.scene.destination
    manager = SimpleNamespace(is_interface_locked=is_locked)
    app = SimpleNamespace(is_job_running=lambda kind: kind in running)
    context = SimpleNamespace(window_manager=manager)
    monkeypatch.setattr(destination, "bpy", SimpleNamespace(app=app, context=context))
    assert destination.work_of_blender() == work
    assert destination.is_in_use() == bool(work)


def test_the_pictures_follow_the_job(bpy, desk):
    desk.generate()
    desk.to_the_end()
    pictures = desk.session.display.pictures
    assert tuple(pictures._current["preview"].image_size) == (64, 64)  # icon ids are for windows only
    assert len(pictures.sides()) == 6
    assert desk.job.name in pictures._thumbnails
    assert not [image for image in bpy.data.images if "preview" in image.name]


def test_no_2d_preview_of_a_prompt_of_which_the_model_knows_no_word(desk, results):
    model_index = desk.extension.sdi_engine.diffusion.model_index
    desk.monkeypatch.setattr(model_index, "words_of", lambda folder: {"things": ["mug"]})
    desk.settings.prompt = "a dragon"
    assert "does not know any word" in desk.press("preview_2d")
    assert not list(results.glob("**/request.json"))


def test_a_2d_preview_gives_its_seed_and_prompt(desk):
    desk.settings.prompt, desk.settings.seed = PROMPT, 40
    assert not desk.can_press("use_seed")
    assert desk.press("preview_2d") is None
    desk.settings.prompt = "something else"
    desk.until(lambda: desk.session.display.preview_2d.is_over)
    assert desk.session.display.preview_2d.state == "done"
    assert len(desk.session.display.pictures._samples) == 4
    assert desk.press("use_seed", number=2) is None
    assert (desk.settings.prompt, desk.settings.seed) == (PROMPT, 42)
    assert desk.press("close_preview_2d") is None
    assert desk.session.display.preview_2d is None
    assert not desk.list()  # previews are no history


def test_a_2d_preview_whose_drive_is_away_keeps_no_other_from_being_made(bpy, desk, results, tmp_path):
    desk.settings.prompt = "a red mug"
    assert desk.press("preview_2d") is None
    first = desk.session.display.preview_2d
    results.rename(tmp_path / "away")
    bpy.context.preferences.addons[desk.extension.__name__].preferences.results_folder = str(tmp_path / "others")
    assert desk.press("preview_2d") is None
    second = desk.session.display.preview_2d
    assert second is not first
    desk.until(lambda: second.is_over)
    assert second.state == "done"


def test_after_the_last_seed_comes_the_first_in_a_2d_preview(desk):
    desk.settings.prompt, desk.settings.seed = PROMPT, 2**31 - 2
    assert desk.press("preview_2d") is None
    desk.until(lambda: desk.session.display.preview_2d.is_over)
    assert desk.press("use_seed", number=3) is None
    assert desk.settings.seed == 1


def test_key_maps_and_scripts_find_operators_by_their_former_names(bpy, desk):
    desk.settings.prompt, desk.settings.seed = PROMPT, 40
    assert desk.press("look") is None
    desk.until(lambda: desk.session.display.preview_2d.is_over)
    assert desk.press("use_look", number=3) is None
    assert desk.settings.seed == 43
    assert desk.press("close_looks") is None
    assert desk.session.display.preview_2d is None
    for former in desk.extension.operators.renamed.CLASSES:
        assert "INTERNAL" in former.bl_options, "no search is to find it"


def test_cancel_resume_dismiss(bpy, desk):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.progress is not None)
    assert desk.press("cancel_job") is None
    desk.to_the_end()
    assert desk.job.state == "cancelled"
    assert not desk.can_press("cancel_job")
    assert desk.press("resume_job") is None
    assert desk.helpers()
    desk.to_the_end()
    assert desk.job.state == "done"
    assert "slow mug" in bpy.data.objects
    assert desk.press("dismiss_job") is None
    assert desk.job is None
    assert not desk.can_press("dismiss_job")


def test_pause_frees_the_engine_keeps_the_marker_and_says_so(desk):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    desk.generate("another mug")
    assert desk.press("pause_job") is None
    desk.until(lambda: desk.job.state == "paused" and desk.session.desks.runner.engine is None)
    assert desk.session.desks.runner.is_held
    assert not any(map(desk.session.desks.starts_engine_for, desk.session.desks.runner.jobs.values()))
    assert desk.can_press("go_on")
    assert len(desk.helpers()) >= 4
    assert desk.press("resume_job") is None
    desk.to_the_end()
    assert {"slow mug", "another mug"} <= {thing.name for thing in desk.bpy.data.objects}
    assert not desk.can_press("go_on")


def test_memory_can_be_freed_when_nothing_runs(desk):
    assert not desk.can_press("free_memory")
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    assert not desk.can_press("free_memory")
    desk.press("finish_job")
    desk.to_the_end()
    assert desk.press("free_memory") is None
    desk.until(lambda: desk.session.desks.runner.engine is None)


def test_a_killed_engine_is_noticed_and_the_job_resumed(bpy, desk):
    desk.generate("kill it")
    desk.to_the_end()
    assert desk.job.state == "failed"
    assert not desk.helpers()
    assert desk.press("resume_job") is None
    desk.to_the_end()
    assert "kill it" in bpy.data.objects


def test_another_file_gets_no_object_unasked(bpy, desk):
    desk.generate()
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.to_the_end()
    assert desk.job.state == "done"
    assert desk.arrivals.wants(desk.job.name)
    assert PROMPT not in bpy.data.objects
    assert desk.press("import_result") is None
    assert PROMPT in bpy.data.objects
    assert not desk.arrivals.wants(desk.job.name)


def test_a_saved_file_that_is_opened_again_gets_its_object(bpy, desk, tmp_path):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    marker = desk.extension.scene.markers.find(desk.job.name)
    marker.location.x = 7.0
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    desk.job.finish()
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == 7.0
    assert not desk.helpers()


@pytest.mark.parametrize(("prompt", "state"), [("kill it", "failed"), ("garbage", "done")])
def test_what_a_blender_left_behind_is_found_and_offered(bpy, desk, prompt, state):
    desk.generate(prompt)
    desk.to_the_end()
    desk.start_anew()
    assert desk.job.request.prompt == prompt
    assert desk.job.state == state
    assert desk.list() == [prompt]


def test_a_job_that_runs_on_is_found_and_followed(bpy, desk):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    name = desk.job.name
    desk.start_anew()
    desk.until(lambda: desk.job is not None)
    assert desk.job.name == name
    assert desk.job.progress is not None
    desk.press("finish_job")
    desk.until(lambda: desk.job.is_over)
    assert desk.job.state == "done"


def test_a_dismissed_job_is_not_offered_again(desk):
    desk.generate("garbage")
    desk.to_the_end()
    desk.press("dismiss_job")
    desk.start_anew()
    assert desk.job is None
    assert desk.list() == ["garbage"]


def test_a_list_that_was_read_before_a_job_was_dismissed_does_not_offer_it_again(desk):
    desk.generate("garbage")
    desk.to_the_end()
    desk.start_anew()
    entries = list(desk.session.desks.library.entries)
    desk.press("dismiss_job")
    desk.session.watcher._list_is_new(entries)
    assert desk.job is None


def test_an_invalid_mesh_is_reported_in_the_panel(desk):
    desk.generate("garbage")
    desk.to_the_end()
    assert "cannot be read" in desk.arrivals.complaint
    assert not desk.session.watcher.is_busy()


class TestHistory:
    """The operators for a job in the list."""

    @pytest.fixture
    def name(self, desk):
        desk.generate(height=2.0, seed=5, negative_prompt="blurry", steps=30)
        desk.to_the_end()
        desk.bpy.context.window_manager.sdi_job_index = 0
        return desk.bpy.context.window_manager.sdi_jobs[0].name

    def test_an_entry_describes_its_job(self, desk, name):
        entry = desk.session.desks.entry(name)
        assert (entry.request.prompt, entry.state, entry.seconds, entry.is_imported) == (PROMPT, "done", 61.0, True)

    def test_import_again(self, bpy, desk, name):
        first = bpy.data.objects[PROMPT].location.x
        bpy.context.scene.cursor.location = (9.0, 0.0, 0.0)
        assert desk.press("import_result", job=name) is None
        assert bpy.data.objects[f"{PROMPT}.001"].location.x == 9.0
        assert bpy.data.objects[PROMPT].location.x == first

    def test_its_settings_can_be_used_again(self, desk, name):
        desk.settings.prompt, desk.settings.seed, desk.settings.height = "another", 0, 1.0
        desk.settings.negative_prompt, desk.settings.steps = "", 0
        assert desk.press("copy_settings", job=name) is None
        settings = desk.settings
        assert (settings.prompt, settings.seed, settings.height) == (PROMPT, 5, 2.0)
        assert (settings.negative_prompt, settings.steps) == ("blurry", 30)

    def test_variations_have_other_seeds_and_the_same_words(self, desk, name):
        desk.settings.prompt = "another"
        assert desk.press("variations", job=name, count=2) is None
        desk.to_the_end()
        requests = [entry.request for entry in desk.session.desks.library.entries]
        assert {request.prompt for request in requests} == {PROMPT}
        assert len({request.seed for request in requests}) == 3
        assert {request.steps for request in requests} == {30}

    def test_the_object_itself_can_be_made_again(self, bpy, desk, name):
        bpy.context.window_manager.sdi_job_index = -1
        bpy.context.view_layer.objects.active = bpy.data.objects[PROMPT]
        assert desk.press("regenerate") is None
        desk.to_the_end()
        first, second = desk.session.desks.library.entries
        assert first.request == second.request

    def test_a_menu_takes_no_job_of_the_list_and_says_what_does(self, bpy, desk, name):
        bpy.context.view_layer.objects.active = bpy.data.objects["Cube"]
        for operator in ("variations", "copy_settings", "regenerate"):
            assert "use the buttons below the list of jobs" in desk.press(operator)

    def test_delete_removes_the_folder_and_nothing_else(self, bpy, desk, name, results):
        (results / "mine.txt").write_text("stays")
        assert desk.press("delete_job", job=name) is None
        assert desk.list() == []
        assert desk.job is None
        desk.until(lambda: not [path for path in results.iterdir() if name in path.name])
        assert (results / "mine.txt").exists()
        assert PROMPT in bpy.data.objects

    def test_a_job_that_is_gone_is_named_as_such(self, bpy, desk, name, results):
        (results / name).rename(results / "elsewhere")
        desk.session.display.job = None
        assert "no longer exists" in desk.press("open_job", job=name, what="FOLDER")
        bpy.context.view_layer.objects.active = bpy.data.objects[PROMPT]
        for button in ("variations", "regenerate", "copy_settings"):  # not what the active object was made with
            assert "no longer exists" in desk.press(button, job=name)

    def test_the_list_survives_another_file(self, bpy, desk, name):
        bpy.ops.wm.read_homefile(use_empty=True)
        desk.until(lambda: desk.list() == [PROMPT])

    def test_damaged_folders_say_what_is_wrong_with_them_and_can_be_deleted(self, desk, name, results):
        requests = {
            "z1": "{",
            "z2": '{"prompt": "x", "schema": 99}',
            "z3": "[" * 100_000,
            "z4": '{"prompt": "x", "seed": 1e999}',
        }
        for broken, request in requests.items():
            (results / broken).mkdir()
            (results / broken / "request.json").write_text(request)
        (results / "a file").write_text("")
        desk.press("refresh_jobs")
        desk.until(lambda: not desk.session.desks.library.is_refreshing)
        assert desk.list() == ["z4", "z3", "z2", "z1", PROMPT]
        assert "update the extension" in desk.session.desks.entry("z2").trouble
        assert all("is damaged" in desk.session.desks.entry(broken).trouble for broken in ("z1", "z3", "z4"))
        manager = desk.bpy.context.window_manager
        manager.sdi_job_index = manager.sdi_jobs.find("z2")
        for button in ("resume_job", "copy_settings", "variations"):
            assert "update the extension" in desk.press(button, job="z2")
        assert desk.press("delete_job", job="z3") is None
        assert desk.list() == ["z4", "z2", "z1", PROMPT]
        desk.until(lambda: not (results / "z3").exists() and not list(results.glob(".deleted-*")))

    def test_what_is_not_ours_stays_where_it_is_when_a_job_is_deleted(self, desk, name, results):
        (results / name / "export").mkdir()
        (results / name / "export" / "mug.obj").write_text("mine")
        assert desk.press("delete_job", job=name) is None
        desk.until(lambda: (results / name / "export" / "mug.obj").exists())
        assert [path.name for path in (results / name).iterdir()] == ["export"]
        desk.until(lambda: not desk.session.desks.library.is_refreshing)
        assert desk.list() == []


def test_an_engine_that_cannot_start_is_reported_and_the_job_waits(bpy, desk, tmp_path, fake_python):
    preferences = bpy.context.preferences.addons[desk.extension.__name__].preferences
    preferences.engine_python = str(tmp_path / "nothing")
    desk.generate()
    assert desk.session.desks.starts_engine_for(desk.job)
    desk.until(lambda: desk.session.desks.runner.trouble)
    assert "does not exist: choose another" in desk.session.desks.runner.trouble
    assert desk.session.watcher.is_busy()
    assert not desk.session.desks.starts_engine_for(desk.job)
    preferences.engine_python = str(fake_python)
    assert desk.press("go_on") is None
    desk.to_the_end()
    assert PROMPT in bpy.data.objects


def test_the_end_of_a_job_is_announced(desk, monkeypatch):
    said = []
    monkeypatch.setattr(desk.extension.jobs.notify, "notify", said.append)
    desk.generate()
    desk.to_the_end()
    assert said == ["“a red mug” is ready (1:01)"]
    assert desk.session.display.announcement.sentence == said[0]
    desk.bpy.context.preferences.addons[desk.extension.__name__].preferences.notify = False
    desk.generate("fail 4")
    desk.to_the_end()
    assert len(said) == 1
    assert "has failed" in desk.session.display.announcement.sentence
    desk.generate("a red mug " + "and another one " * 50)
    desk.to_the_end()
    assert desk.session.display.announcement.sentence.startswith("“a red mug and another one and")
    assert "…” is ready" in desk.session.display.announcement.sentence
    assert len(desk.session.display.announcement.sentence) < 90


def test_the_buttons_of_a_job_with_a_long_prompt_stay_in_sight(desk, monkeypatch):
    drawn = []
    layout = MagicMock()
    layout.row.return_value = layout.column.return_value = layout
    layout.label = lambda **_: drawn.append("label")
    layout.operator = lambda name, **_: drawn.append(name) or MagicMock()
    desk.generate("a red mug " * 99)
    desk.to_the_end()
    desk.extension.panels.main._draw_job(layout, desk.bpy.context, desk.job)
    assert drawn.index("sdi.open_job") < 8
    drawn.clear()
    models = desk.session.models
    monkeypatch.setattr(models, "about", lambda model: "Built in")
    monkeypatch.setattr(models, "unknown_words", lambda model, prompt: "This model does not know that. " * 99)
    layout.popover = drawn.append
    desk.extension.panels.settings._draw_about_model(layout, desk.bpy.context, 300.0)
    assert drawn.index("SDI_PT_vocabulary") < 10


def test_one_bad_job_does_not_stop_the_timer(desk, caplog):
    """Blender removes a timer whose function raises, and then no job would be polled any more."""
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")

    def fail(*arguments):
        raise ValueError("nobody has thought of this")

    desk.monkeypatch.setattr(desk.job, "poll", fail)
    bad = desk.job
    desk.generate()
    bad.finish()
    desk.until(lambda: desk.session.desks.entry(bad.name) is not None and PROMPT in desk.bpy.data.objects)
    assert caplog.text.count("an unexpected error; everything else continues") == 1
    desk.monkeypatch.setattr(desk.session.watcher, "hear", fail)
    desk.monkeypatch.setattr(desk.session.watcher, "_has_news", fail)
    assert desk.tick() == desk.extension.state.watcher.IDLE_TICK_SECONDS
    assert desk.tick() == desk.extension.state.watcher.IDLE_TICK_SECONDS


def test_a_result_that_cannot_be_placed_leaves_the_others_alone(bpy, desk):
    arrivals = desk.extension.state.arrivals
    put = arrivals.put_into_scene

    def fail_once(context, folder, where):
        if folder.request().prompt == "bad mug":
            raise RuntimeError("nobody has thought of this")
        return put(context, folder, where)

    desk.monkeypatch.setattr(arrivals, "put_into_scene", fail_once)
    desk.generate("bad mug")
    desk.generate()
    desk.to_the_end()
    assert PROMPT in bpy.data.objects
    assert "bad mug" not in bpy.data.objects


def test_the_timer_ends_when_there_is_nothing_to_poll(desk):
    desk.generate()
    desk.to_the_end()
    assert desk.tick() == desk.extension.state.watcher.IDLE_TICK_SECONDS  # the engine is still there
    desk.press("free_memory")
    desk.until(lambda: desk.session.desks.runner.engine is None)
    desk.monkeypatch.setattr(desk.extension.state.announcement, "SECONDS", 0.0)
    assert desk.tick() is None


def test_disabling_leaves_the_engine_running(desk):
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    folder, runner = desk.job.folder, desk.session.desks.runner
    desk.renew_session()
    assert desk.job is None
    os.kill(runner.queue.status()["pid"], 0)
    folder.finish_flag.touch()
    desk.session.watcher.find_again()
    desk.until(lambda: folder.result() is not None)


def test_generate_again_takes_the_next_seed(bpy, desk):
    for _ in range(3):
        desk.generate(seed=desk.settings.seed)
    assert desk.settings.seed == 2
    requests = [job.request for job in desk.session.desks.runner.jobs.values()]
    assert [request.seed for request in requests] == [0, 1, 2]
    desk.to_the_end()
    desk.generate()  # also after it is done
    assert desk.settings.seed == 3
    desk.generate("a blue mug", seed=0)
    assert desk.settings.seed == 0  # since this is another prompt


def test_what_failed_or_was_cancelled_is_tried_with_the_same_seed(desk):
    desk.generate("fail 4")
    desk.to_the_end()
    desk.generate("fail 4")
    assert desk.settings.seed == 0
    desk.to_the_end()
    desk.generate("slow mug")
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    desk.press("cancel_job")
    desk.to_the_end()
    desk.generate("slow mug")
    assert desk.settings.seed == 0


def test_equal_lines_of_a_list_become_different_objects(desk, tmp_path, results):
    (tmp_path / "prompts.txt").write_text("a red mug\na red mug\na blue mug\na red mug\n")
    assert desk.press("generate_from_file", filepath=str(tmp_path / "prompts.txt")) is None
    desk.until(lambda: not desk.session.submissions.has_more)
    requests = [json.loads(file.read_text()) for file in results.glob("*/request.json")]
    said = sorted((request["prompt"], request["seed"]) for request in requests)
    assert said == [("a blue mug", 0), ("a red mug", 0), ("a red mug", 1), ("a red mug", 2)]


def test_nothing_can_be_taken_before_there_was_a_step(extension):
    """Nor would there be anything to resume: the job would be done, with the ball that every run begins with."""
    progress = extension.sdi_engine.contract.events.Progress
    idle = {"elsewhere": "", "is_finishing": False, "is_pausing": False, "is_cancelling": False}
    for now, is_enabled in (
        (progress("Loading the model", 0, 1, within=0.4), False),
        (progress("Optimising", 1, 9), True),
    ):
        layout = MagicMock()
        extension.panels.main._draw_running(layout, MagicMock(), SimpleNamespace(progress=now, **idle))
        take = layout.row.return_value.row.return_value
        assert take.enabled == is_enabled
        assert take.operator.call_args.args == ("sdi.finish_job",)
