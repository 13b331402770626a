"""Markers and live meshes that a file was saved with: taken up when it is opened again, or removed."""

import pytest


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "scene.blend")


@pytest.fixture
def saved(bpy, desk, file):
    """A file that was saved while a job was being made, its marker moved, and a live mesh there; returns its name."""
    desk.generate("slow mug")
    desk.until(lambda: any("(live)" in name for name in desk.helpers()))
    desk.extension.scene.markers.find(desk.job.name).location.x = 7.0
    bpy.ops.wm.save_as_mainfile(filepath=file)
    return desk.job.name


def open_later(bpy, desk, file):
    """Open the file in a Blender that was started after a crash."""
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.start_anew()
    bpy.ops.wm.open_mainfile(filepath=file)
    assert desk.helpers()
    desk.to_the_end()


def finish(desk):
    desk.job.finish()
    desk.until(lambda: desk.job.is_over)


def finish_several_elsewhere(bpy, desk, file):
    """Two more jobs are started in the file, and all finished while another one is open."""
    for prompt in ("a red mug", "a blue mug"):
        desk.generate(prompt)
    bpy.ops.wm.save_as_mainfile(filepath=file)
    jobs = list(desk.session.desks.runner.jobs.values())
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.job.finish()
    desk.until(lambda: all(job.is_over for job in jobs))


def test_all_that_were_finished_meanwhile_come_to_their_markers(bpy, desk, file, saved):
    finish_several_elsewhere(bpy, desk, file)
    open_later(bpy, desk, file)
    assert {"slow mug", "a red mug", "a blue mug"} <= set(bpy.data.objects.keys())
    assert bpy.data.objects["slow mug"].location.x == 7.0
    assert not desk.helpers()


def test_the_file_is_looked_through_once_for_all_that_are_taken_up(bpy, desk, file, saved, monkeypatch):
    finish_several_elsewhere(bpy, desk, file)
    state, looked, counts = desk.extension.state, [], []
    for module in (state.watcher, state.arrivals):
        known = module.OpenFile
        monkeypatch.setattr(module, "OpenFile", lambda known=known: looked.append(known) or known())
    watch_some = state.watcher.Watcher._watch_some

    def counted(watcher):
        waiting, before = len(watcher._desks.unwatched), len(looked)
        watch_some(watcher)
        counts.append((waiting, len(looked) - before))

    monkeypatch.setattr(state.watcher.Watcher, "_watch_some", counted)
    monkeypatch.setattr(state.submissions, "SECONDS_AT_ONCE", 1e6)
    open_later(bpy, desk, file)
    assert {"slow mug", "a red mug", "a blue mug"} <= set(bpy.data.objects.keys())
    assert max(waiting for waiting, _ in counts) >= 2
    assert max(looks for _, looks in counts) == 1


def test_a_result_that_came_but_was_not_saved_comes_again(bpy, desk, file, saved):
    desk.press("finish_job")
    desk.to_the_end()
    assert "slow mug" in bpy.data.objects
    open_later(bpy, desk, file)
    assert bpy.data.objects["slow mug"].location.x == 7.0
    assert not desk.helpers()
    bpy.ops.wm.open_mainfile(filepath=file)  # Revert, in the Blender that has brought it in
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == 7.0
    assert not desk.helpers()


@pytest.mark.parametrize("how", ["cancel_job", "delete_job", "dismiss_job"])
def test_those_of_jobs_that_will_not_come_are_removed(bpy, desk, file, saved, how):
    if how != "cancel_job":
        bpy.ops.wm.read_homefile(use_empty=True)
        finish(desk)
    assert desk.press(how, **({"job": saved} if how == "delete_job" else {})) is None
    desk.to_the_end()
    open_later(bpy, desk, file)
    assert not desk.helpers()
    assert "slow mug" not in bpy.data.objects
    assert not [each for each in (*bpy.data.meshes, *bpy.data.materials) if "(live)" in each.name]
    finish(desk) if desk.job is not None and not desk.job.is_over else None


def test_those_of_another_results_folder_stay(bpy, desk, file, saved, tmp_path):
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.press("cancel_job")
    desk.to_the_end()
    for away in (tmp_path / "others", tmp_path / "away"):
        if away.name == "others":
            away.mkdir()
        desk.extension.state.preferences.of(bpy.context).results_folder = str(away)
        open_later(bpy, desk, file)
        assert desk.markers()


def test_those_of_a_folder_that_is_away_stay(bpy, desk, file, saved, results, tmp_path):
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.press("cancel_job")
    desk.to_the_end()
    assert desk.press("free_memory") is None
    desk.until(lambda: desk.session.desks.runner.engine is None)
    results.rename(tmp_path / "away")
    open_later(bpy, desk, file)
    assert desk.markers()


def test_a_texture_that_was_finished_meanwhile_comes_too(bpy, desk, file):
    desk.settings.prompt = "slow red"
    assert desk.press("texture") is None
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    bpy.ops.wm.save_as_mainfile(filepath=file)
    jobs = [desk.job]
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.generate("a red mug")  # newer, and of another file
    jobs.append(next(job for job in desk.session.desks.runner.jobs.values() if job is not jobs[0]))
    jobs[0].finish()
    desk.until(lambda: all(job.is_over for job in jobs))
    bpy.ops.wm.read_homefile(use_empty=True)
    desk.start_anew()
    bpy.ops.wm.open_mainfile(filepath=file)
    desk.to_the_end()
    assert bpy.data.objects["Cube"].material_slots[0].material.name == "slow red"
    assert "a red mug" not in bpy.data.objects


def test_an_undo_after_cancel_brings_no_marker_back(bpy, desk):
    desk.generate("slow mug")
    desk.until(lambda: any("(live)" in name for name in desk.helpers()))
    bpy.ops.ed.undo_push(message="something else")
    desk.press("cancel_job")
    desk.until(lambda: desk.job.is_over)
    assert not desk.helpers()
    bpy.ops.ed.undo_push(message="another thing")
    bpy.ops.ed.undo()
    desk.arrivals.remove_stale()
    assert not desk.helpers()
    assert desk.press("resume_job") is None
    desk.arrivals.remove_stale()
    assert desk.markers()
    desk.press("finish_job")
    desk.to_the_end()


def test_a_live_mesh_whose_marker_was_deleted_goes_with_its_job(bpy, desk):
    desk.generate("slow mug")
    desk.until(lambda: any("(live)" in name for name in desk.helpers()))
    bpy.data.objects.remove(desk.markers()[0])
    desk.press("cancel_job")
    desk.until(lambda: desk.job.is_over)
    assert not desk.helpers()


def test_disabling_leaves_a_marker_that_can_be_deleted_and_nothing_that_nobody_updates(bpy, desk, file, saved):
    texture = next(thing for thing in bpy.data.objects if thing.type == "MESH" and "sdi_job" not in thing)
    desk.extension.scene.live_mesh.make(texture.users_collection[0], "job-2", "red", "", "overlay")
    desk.session.end()
    assert {each["sdi_part"] for each in map(bpy.data.objects.get, desk.helpers())} == {"marker"}
    assert not [each for each in (*bpy.data.meshes, *bpy.data.materials) if "(live)" in each.name]
    desk.extension.state.current.hold(desk.extension.state.session.Session())
    desk.session.begin()
    desk.session.watcher.find_again()
    desk.until(lambda: desk.job is not None and any("(live)" in name for name in desk.helpers()))
    assert {each["sdi_part"] for each in map(bpy.data.objects.get, desk.helpers())} == {"marker", "box", "live"}
    desk.press("finish_job")
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == 7.0
    assert not desk.helpers()


@pytest.fixture
def shown_scene(bpy, desk, file, saved):
    """Appends the scene of the saved file to a new one."""

    def append():
        bpy.ops.wm.read_homefile()
        with bpy.data.libraries.load(file) as (there, here):
            here.scenes = there.scenes
        assert desk.markers()

    return append


def test_an_appended_scene_gets_what_its_marker_waits_for(bpy, desk, file, saved, shown_scene):
    desk.press("finish_job")
    desk.to_the_end()
    shown_scene()
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == 7.0
    assert not desk.helpers()


def test_an_appended_scene_gets_a_result_that_comes_later(bpy, desk, file, saved, shown_scene):
    shown_scene()
    desk.press("finish_job")
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == 7.0
    assert not desk.helpers()


def test_where_nobody_says_what_was_appended_no_marker_is_left(bpy, desk, file, saved, shown_scene):
    """As in Blender 4.2, which has no handler for it."""
    if hasattr(bpy.app.handlers, "blend_import_post"):
        bpy.app.handlers.blend_import_post.clear()
    desk.press("finish_job")
    desk.to_the_end()
    shown_scene()
    assert desk.press("refresh_jobs") is None
    desk.to_the_end()
    assert not desk.helpers()


@pytest.mark.parametrize("restart", [False, True])
def test_a_new_file_gets_nothing_though_its_startup_file_was_saved_with_a_marker(bpy, desk, file, saved, restart):
    desk.press("finish_job")
    desk.to_the_end()
    for _ in range(2):
        if restart:
            bpy.ops.wm.read_homefile(use_empty=True)
            desk.start_anew()
        bpy.ops.wm.read_homefile(filepath=file)
        desk.session.watcher.find_again()
        desk.to_the_end()
        assert "slow mug" not in bpy.data.objects
        assert not desk.helpers()
    bpy.ops.wm.open_mainfile(filepath=file)
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == 7.0, "the file itself still gets it"


def test_a_new_file_gets_no_result_that_comes_later(bpy, desk, file, saved):
    bpy.ops.wm.read_homefile(filepath=file)
    desk.press("finish_job")
    desk.to_the_end()
    assert "slow mug" not in bpy.data.objects
    bpy.ops.wm.open_mainfile(filepath=file)
    desk.to_the_end()
    assert bpy.data.objects["slow mug"].location.x == 7.0


def test_a_new_file_gets_no_texture_for_an_object_of_its_startup_file(bpy, desk, file):
    desk.settings.prompt = "slow red"
    assert desk.press("texture") is None
    desk.until(lambda: desk.job is not None and desk.job.state == "running")
    bpy.ops.wm.save_as_mainfile(filepath=file)
    bpy.ops.wm.read_homefile(filepath=file)
    desk.press("finish_job")
    desk.to_the_end()
    assert not bpy.data.objects["Cube"].sdi_looks
    bpy.ops.wm.open_mainfile(filepath=file)
    desk.to_the_end()
    assert bpy.data.objects["Cube"].material_slots[0].material.name == "slow red"
