"""Jobs of another machine or person, drives that are away, and preferences that have changed meanwhile."""

import contextlib
import dataclasses
import json
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from blender_desk import PROMPT
from made_jobs import make_job

import headless


@contextlib.contextmanager
def as_a_colleague(extension, results, host="nas"):
    """Within this block, files are written as by another person on another machine."""
    machine = extension.sdi_engine.system.machine
    place = machine.Place(host, f"the machine {host}", "boot", "", "colleague")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(machine.FOLDER_VARIABLE, str(results.parent / "colleague"))
        patch.setattr(machine, "here", lambda: place)
        yield


def write_colleagues_jobs(extension, results, names=("waiting", "running", "done", "failed")):
    engine = extension.sdi_engine
    queue = engine.contract.job_queue.JobQueue(results)
    for name in names:
        folder = make_job(extension, results, name)
        if name != "done":
            folder.result_file.unlink()
            folder.mesh_file.unlink()
        if name == "waiting":
            queue.add(name)
        if name == "running":
            folder.append(engine.contract.events.StateChanged(engine.contract.events.RUNNING))
            folder.beat(1.0)
        if name == "failed":
            folder.append(engine.contract.events.Failed("It failed.", 4))
            folder.append(engine.contract.events.StateChanged(engine.contract.events.FAILED))


def everything_in(folder):
    return {path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_somebody_elses_results_folder_is_only_read(bpy, desk, extension, results):
    with as_a_colleague(extension, results):
        write_colleagues_jobs(extension, results)
    before, things = everything_in(results), sorted(bpy.data.objects.keys())
    desk.session.watcher.find_again()
    desk.until(lambda: not desk.session.desks.library.is_refreshing and len(desk.list()) == 4)
    for _ in range(20):
        desk.tick()
    assert everything_in(results) == before
    assert sorted(bpy.data.objects.keys()) == things
    assert desk.session.desks.runner.engine is None
    states = {name: desk.session.state_of(name) for name in ("waiting", "running", "done", "failed")}
    assert states == {name: name if name != "waiting" else "queued" for name in states}
    assert desk.session.desks.waits_from("waiting") == "nas"
    about = extension.panels.jobs._about(desk.session.desks.entry("waiting"), "queued")
    assert about.startswith("Queued elsewhere (nas)")


def test_the_description_of_a_colleagues_job_fits_into_the_sidebar(extension, desk, results):
    with as_a_colleague(extension, results, host="workstation-of-a-colleague"):
        write_colleagues_jobs(extension, results, ["waiting"])
    desk.session.watcher.find_again()
    desk.until(lambda: desk.list() == [PROMPT] and desk.session.desks.waits_from("waiting") is not None)
    styles = desk.bpy.context.preferences.ui_styles
    screen = SimpleNamespace(system=SimpleNamespace(ui_scale=1.0), ui_styles=styles)
    context = SimpleNamespace(preferences=screen, region=SimpleNamespace(width=280))
    layout = MagicMock()
    layout.column.return_value = layout.row.return_value = layout
    entry = desk.session.desks.entry("waiting")
    extension.panels.jobs._draw_chosen(layout, context, entry, "queued")
    lines = [call.kwargs["text"] for call in layout.label.call_args_list]
    assert "".join(lines).replace(" ", "") == extension.panels.jobs._about(entry, "queued").replace(" ", "")
    assert max(map(len, lines)) < 40
    buttons = {call.args[0]: call.kwargs.get("text") for call in layout.operator.call_args_list}
    assert "sdi.run_job_here" in buttons
    assert buttons["sdi.cancel_job"] == "Remove"


def test_run_here_does_what_it_says(bpy, desk, extension, results):
    with as_a_colleague(extension, results):
        write_colleagues_jobs(extension, results, ["waiting"])
    desk.session.watcher.find_again()
    desk.until(lambda: desk.list() == [PROMPT] and desk.session.desks.waits_from("waiting") is not None)
    bpy.context.scene.cursor.location = (4.0, 0.0, 0.0)
    assert desk.press("run_job_here", job="waiting") is None
    assert desk.session.desks.waits_from("waiting") is None
    assert "already" in desk.press("run_job_here", job="waiting")
    desk.to_the_end()
    placed = [thing for thing in bpy.data.objects if thing.name.startswith(PROMPT)]
    assert [round(thing.location.x) for thing in placed] == [4]  # at our cursor, not where the colleague's was


@pytest.mark.parametrize(("name", "button"), [("waiting", "run_job_here"), ("failed", "resume_job")])
def test_a_job_with_a_link_in_it_is_refused_at_the_click(desk, extension, results, name, button):
    """The engine would refuse it too, but cannot write the reason into such a job."""
    with as_a_colleague(extension, results):
        write_colleagues_jobs(extension, results, [name])
    letter = results.parent / "letter.txt"
    letter.write_text("Dear")
    try:
        extension.sdi_engine.contract.job_folder.JobFolder(results / name).log_file.symlink_to(letter)
    except OSError:
        pytest.skip("this person may not make links")
    desk.session.watcher.find_again()
    desk.until(lambda: desk.list() == [PROMPT] and desk.session.state_of(name))
    desk.until(lambda: name != "waiting" or desk.session.desks.waits_from(name) is not None)
    before = everything_in(results)
    assert "is a link, and links inside a job are not followed: delete it" in desk.press(button, job=name)
    assert everything_in(results) == before
    assert not extension.scene.markers.helpers()
    assert not desk.session.watcher.is_busy()


def writes_no_more(desk):
    """Whether the stand-in has written all of its second step and waits for the finish flag."""
    events = desk.extension.sdi_engine.contract.events
    seen, _ = events.read_new(desk.job.folder.events_file, 0)
    last = events.LiveMeshSaved if desk.job.folder.live_flag.exists() else events.PreviewSaved
    return bool(seen) and isinstance(seen[-1], last) and seen[-1].step == 2


def test_a_drive_that_comes_back_is_as_if_it_had_never_been_away(desk, results, tmp_path):
    away_from = desk.extension.jobs.job
    desk.monkeypatch.setattr(away_from, "device_of", lambda path: -1)  # what is left on the way there is on another one
    for number in range(3):
        desk.generate(f"slow mug {number}")
    desk.until(lambda: writes_no_more(desk))
    jobs = list(desk.session.desks.runner.jobs.values())
    assert len(jobs) == 3
    results.rename(tmp_path / "away")
    for _ in range(5):
        desk.tick()
    assert "is its drive connected?" in desk.session.display.complaint
    (tmp_path / "away").rename(results)
    desk.tick()
    assert desk.session.display.complaint == ""
    for job in jobs:
        desk.until(lambda job=job: job.state == "running")
        job.finish()
    desk.to_the_end()
    assert [job.state for job in jobs] == ["done"] * 3


def test_a_folder_deleted_while_its_job_runs_is_reported_as_deleted(desk, tmp_path):
    desk.generate("slow mug")
    desk.until(lambda: desk.job.state == "running")
    desk.job.folder.path.rename(tmp_path / "bin")
    desk.until(lambda: desk.job.is_over)
    assert "folder was deleted" in desk.job.failure.message


def test_a_results_folder_deleted_while_its_job_runs_leaves_no_job_no_marker_and_no_row(desk, results, tmp_path):
    desk.generate("slow mug")
    desk.until(lambda: desk.job.state == "running")
    assert desk.markers()
    results.rename(tmp_path / "bin")
    desk.until(lambda: desk.job.is_over)
    assert "folder was deleted" in desk.job.failure.message
    desk.to_the_end()
    assert not desk.helpers()
    assert not desk.list()
    assert desk.session.display.complaint == ""
    assert desk.press("dismiss_job") is None
    assert desk.job is None


def test_a_job_whose_results_folder_was_deleted_is_deleted_with_one_click(desk, results, tmp_path):
    desk.generate("slow mug")
    desk.until(lambda: desk.job.state == "running")
    results.rename(tmp_path / "bin")
    assert desk.press("delete_job") is None  # before anybody has noticed
    assert desk.job is None
    desk.to_the_end()
    assert not desk.helpers()
    assert not desk.list()


def test_a_row_whose_folder_is_gone_goes_at_the_first_click(desk, results, tmp_path):
    desk.generate()
    desk.to_the_end()
    name = desk.job.name
    assert desk.press("dismiss_job") is None
    desk.to_the_end()
    (results / name).rename(tmp_path / "bin")
    assert "no longer exists" in desk.press("delete_job", job=name)
    desk.to_the_end()
    assert not desk.list()


@pytest.mark.parametrize("restart", [False, True])
def test_a_wrong_python_is_used_only_until_a_good_one_is_set(bpy, desk, tmp_path, restart):
    settings = bpy.context.preferences.addons[headless.PACKAGE].preferences
    good, bare = settings.engine_python, tmp_path / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    settings.engine_python = str(bare)
    desk.generate()
    desk.until(lambda: desk.job.is_over)
    assert desk.job.failure.exit_code == 3
    wrong = desk.session.desks.runner.queue.status()["pid"]
    if restart:
        desk.start_anew()
    settings.engine_python = good
    assert desk.press("resume_job") is None
    desk.to_the_end()
    assert desk.job.state == "done"
    assert desk.session.desks.runner.queue.status()["pid"] != wrong


def test_online_access_takes_effect_at_the_next_job(desk, monkeypatch):
    desk.generate("environment before")
    desk.to_the_end()
    engine = desk.extension.state.preferences.engine
    monkeypatch.setattr(
        desk.extension.state.preferences, "engine", lambda context: dataclasses.replace(engine(context), online=True)
    )
    desk.generate("environment after")
    desk.to_the_end()
    environment = json.loads((desk.job.folder.path / "environment.json").read_text())
    assert "HF_HUB_OFFLINE" not in environment
