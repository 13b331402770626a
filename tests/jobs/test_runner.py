"""Jobs in every state, done by an engine that does what their prompts say."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_cluster import ADDRESS, NO_ANSWER, NOBODY
from sdi_text_to_3d.jobs import job as job_module
from sdi_text_to_3d.jobs import process, wait
from sdi_text_to_3d.jobs.engine import Engine
from sdi_text_to_3d.jobs.job import Job
from sdi_text_to_3d.jobs.runner import Runner
from sdi_text_to_3d.jobs.wait import wait_for
from sdi_text_to_3d.sdi_engine.contract import events
from sdi_text_to_3d.sdi_engine.contract.job_queue import JobQueue
from sdi_text_to_3d.sdi_engine.contract.request import JobRequest
from sdi_text_to_3d.sdi_engine.errors import EXIT_ENVIRONMENT, BadInputError, StorageError
from sdi_text_to_3d.sdi_engine.system import machine, processes

import headless


class Desk:
    """A runner with its engine, polled by the test."""

    def __init__(self, results, engine):
        self.engine = engine
        self.runner = Runner(results, idle_minutes=1.0)

    def __getattr__(self, name):
        return getattr(self.runner, name)

    def put(self, prompt, **settings):
        self.runner.use(self.engine)
        job = self.runner.create(JobRequest(prompt=prompt, **settings))
        self.runner.submit(job)
        return job

    def resume(self, job):
        self.runner.use(self.engine)
        self.runner.resume(job)

    def poll(self):
        return self.runner.poll(lambda: self.engine)

    def until(self, condition, seconds=60.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log()
            self.poll()
            time.sleep(0.02)

    def run(self, prompt):
        job = self.put(prompt)
        wait_for(self.runner, job, lambda: self.engine, lambda _: None)
        return job

    def finish(self, job):
        wait_for(self.runner, job, lambda: self.engine, lambda _: None)
        return job

    def pid(self):
        return (self.runner.queue.status() or {}).get("pid")

    def log(self):
        queue = self.runner.queue
        return queue.log_file.read_text() if queue.log_file.exists() else "no log"

    def close(self):
        pid = self.pid()
        if pid is not None:
            process.end_tree(pid)


@pytest.fixture
def desk(tmp_path, engine):
    desk = Desk(tmp_path / "results", engine)
    yield desk
    desk.close()


def refreshed(folder, waits=False):
    """The job as a restarted Blender reads it."""
    job = Job(folder)
    job.refresh(waits)
    return job


def said(folder):
    return events.read_new(folder.events_file, 0)[0]


def test_a_job_is_done_when_its_result_is_there(desk):
    job = desk.put("a red mug")
    assert job.state == events.QUEUED
    seen = []
    wait_for(desk.runner, job, lambda: desk.engine, lambda changed: seen.append(changed.state))
    assert job.state == events.DONE
    assert job.failure is None
    assert job.progress.step == job.progress.steps == 4
    assert job.preview.file == "preview.png"
    assert events.DONE in seen
    assert "fake worker: run" in job.log_tail()
    assert not desk.is_busy


def test_a_job_that_is_over_is_not_asked_to_stop(tmp_path):
    job = Job.create(tmp_path, JobRequest("a red mug"))
    job.folder.result_file.write_text("{}")
    job.folder.append(events.StateChanged(events.DONE))
    job.refresh(waits=False)
    job.pause()
    job.cancel()
    assert (job.state, job.is_pausing, job.is_cancelling) == (events.DONE, False, False)
    assert not job.folder.pause_flag.exists()
    assert not job.folder.cancel_flag.exists()


def test_one_engine_takes_all_jobs_in_turn(desk):
    jobs = [desk.put(f"environment {number}") for number in range(3)]
    desk.until(lambda: not desk.is_busy)
    environments = [json.loads((job.folder.path / "environment.json").read_text()) for job in jobs]
    assert len({environment["pid"] for environment in environments}) == 1
    starts = [job.folder.result_file.stat().st_mtime_ns for job in jobs]
    assert starts == sorted(starts)
    assert desk.pid() == environments[0]["pid"]  # it keeps running for further jobs


def test_the_order_can_be_changed_and_jobs_taken_out(desk):
    slow = desk.put("slow")
    desk.until(lambda: slow.state == events.RUNNING)
    first, second, third = (desk.put(f"mug {number}") for number in range(3))
    desk.queue.move(third.name, -1)
    desk.queue.move(third.name, -1)
    desk.queue.move(third.name, -1)  # it is already the first
    desk.cancel(second)
    assert second.state == events.CANCELLED
    desk.poll()
    assert [ticket.name for ticket in desk.waiting] == [third.name, first.name]
    assert desk.current is slow
    slow.finish()
    desk.until(lambda: not desk.is_busy)
    assert slow.state == first.state == third.state == events.DONE
    assert third.folder.result_file.stat().st_mtime_ns < first.folder.result_file.stat().st_mtime_ns
    assert refreshed(second.folder).state == events.CANCELLED


def test_many_jobs_are_queued_at_once_in_their_order_and_watched(desk):
    desk.queue.hold()
    jobs = [desk.create(JobRequest(prompt=f"mug {number}")) for number in range(3)]
    desk.submit_all(jobs)
    assert list(desk.jobs.values()) == jobs
    assert [ticket.name for ticket in desk.waiting] == [job.name for job in jobs]


def test_take_it_now(desk):
    job = desk.put("slow and steady")
    desk.until(lambda: job.state == events.RUNNING)
    job.finish()
    assert job.is_finishing
    desk.finish(job)
    assert job.state == events.DONE


def test_pause_frees_the_engine_and_continue_starts_it_again(desk):
    job, next_one = desk.put("slow and steady"), desk.put("a red mug")
    desk.until(lambda: job.state == events.RUNNING)
    pid = desk.pid()
    desk.pause(job)
    desk.until(lambda: job.is_over)
    assert job.state == events.PAUSED
    desk.until(lambda: not processes.is_alive(pid))
    assert refreshed(job.folder).state == events.PAUSED
    for _ in range(20):
        desk.poll()
    assert next_one.state == events.QUEUED  # no job starts while the person needs the memory
    assert desk.queue.is_held
    desk.resume(job)
    desk.until(lambda: not desk.is_busy)
    assert job.state == next_one.state == events.DONE
    assert "resume" in job.log_tail(5)


def test_pause_stops_one_of_several_and_the_next_takes_its_place(tmp_path, engine):
    desk = Desk(tmp_path / "results", dataclasses.replace(engine, processes=2))
    one, other = desk.put("slow one"), desk.put("slow other")
    desk.until(lambda: one.state == other.state == events.RUNNING)
    pid, next_one = desk.pid(), desk.put("a red mug")
    desk.pause(one)
    desk.until(lambda: next_one.is_over)
    assert (one.state, other.state, next_one.state) == (events.PAUSED, events.RUNNING, events.DONE)
    assert not desk.queue.is_held
    desk.resume(one)
    desk.until(lambda: one.state == events.DONE)
    assert desk.pid() == pid
    desk.pause(other)  # with which nothing is left to do
    desk.until(lambda: not processes.is_alive(pid))
    assert desk.queue.is_held
    desk.close()


def test_a_paused_job_that_nobody_was_at_waits_no_longer_and_can_go_on(desk):
    slow, waiting = desk.put("slow and steady"), desk.put("a red mug")
    desk.until(lambda: slow.state == events.RUNNING)
    desk.pause(waiting)
    assert waiting.state == refreshed(waiting.folder).state == events.PAUSED
    assert not desk.queue.waiting()
    assert not desk.queue.is_held
    slow.finish()
    desk.until(lambda: slow.is_over)
    desk.resume(waiting)
    desk.until(lambda: waiting.is_over)
    assert waiting.state == events.DONE


def test_memory_is_freed_on_request(desk):
    desk.run("a red mug")
    pid = desk.pid()
    desk.free_memory()
    desk.until(lambda: not processes.is_alive(pid))
    assert desk.queue.status() is None
    assert desk.run("a blue mug").state == events.DONE


def test_a_2d_preview_comes_before_all_waiting_jobs(desk):
    slow, mug = desk.put("slow"), desk.put("a red mug")
    desk.until(lambda: slow.state == events.RUNNING)
    look = desk.sample(JobRequest(prompt="a red mug", seed=5))
    assert desk.jobs[look.name] is look
    slow.finish()
    desk.until(lambda: not desk.is_busy)
    result = look.folder.result()
    assert [image["seed"] for image in result["images"]] == [5, 6, 7, 8]
    assert all((look.folder.path / image["file"]).is_file() for image in result["images"])
    assert look.folder.result_file.stat().st_mtime_ns < mug.folder.result_file.stat().st_mtime_ns
    assert look.folder.path.parent == desk.queue.samples_folder
    desk.sample(JobRequest(prompt="a blue mug"))
    assert not look.folder.path.exists()


def test_two_runners_share_one_engine(desk, engine, tmp_path):
    other = Desk(tmp_path / "results", engine)
    jobs = [desk.put("environment a"), other.put("environment b")]
    deadline = time.monotonic() + 60.0
    while not all(job.is_over for job in jobs):
        assert time.monotonic() < deadline
        desk.poll()
        other.poll()
        time.sleep(0.02)
    pids = {json.loads((job.folder.path / "environment.json").read_text())["pid"] for job in jobs}
    assert len(pids) == 1


def test_that_another_engine_is_at_work_first_is_known(tmp_path):
    runner = Runner(tmp_path)
    runner.queue.make_folders()
    known = []
    for waits in (True, False, True):
        runner.queue.beat(1.0, [], "", waits=waits)
        runner.poll(lambda: None)
        known.append(runner.waits_for_another_engine)
    runner.queue.status_file.unlink()
    runner.poll(lambda: None)
    assert [*known, runner.waits_for_another_engine] == [True, False, True, False]


def test_the_queue_goes_on_after_a_job_has_killed_the_engine(desk):
    killed, mug = desk.put("kill it"), desk.put("a red mug")
    desk.until(lambda: not desk.is_busy)
    assert killed.state == events.FAILED
    assert mug.state == events.DONE


@pytest.mark.parametrize(
    ("prompt", "exit_code", "words"),
    [
        ("crash now", 1, "RuntimeError: the fake worker crashes as it was told"),
        ("kill it", 1, "killed (SIGKILL)"),
        ("quit early", 1, "exit code 0 and no result"),
        ("fail 4 of them", 4, "It failed as it was told"),
        ("fail 5 of them", 5, "It failed as it was told"),
    ],
)
def test_a_job_that_ends_without_a_result_has_failed(desk, prompt, exit_code, words):
    job = desk.run(prompt)
    assert job.state == events.FAILED
    assert job.failure.exit_code == exit_code
    assert words in job.failure.message
    assert "\n" not in job.failure.message
    again = refreshed(job.folder)
    assert again.state == events.FAILED
    if any(isinstance(event, events.Failed) for event in said(job.folder)):
        assert again.failure.message == job.failure.message
    else:  # this Blender's own conclusion is not written as the engine's
        assert "The engine ended without a result" in again.failure.message


def test_an_engine_that_ends_while_its_jobs_are_looked_at_has_its_exit_code(desk, monkeypatch):
    is_attended = Job._is_attended

    def after_its_end(job):
        while is_attended(job):
            time.sleep(0.01)
        return False

    monkeypatch.setattr(Job, "_is_attended", after_its_end)
    assert "exit code 0 and no result" in desk.run("quit early").failure.message


def test_a_killed_job_can_be_resumed(desk):
    job = desk.run("kill it")
    assert job.state == events.FAILED
    desk.resume(job)
    assert job.state == events.QUEUED
    assert job.failure is None
    desk.finish(job)
    assert job.state == events.DONE
    assert "resume" in job.log_tail()
    again = refreshed(job.folder)
    assert again.state == events.DONE
    assert again.failure is None


def test_a_killed_engines_status_is_not_taken_for_the_next_ones(desk):
    """Between the taking of a resumed job and its first heartbeat."""
    job = desk.run("kill it")
    assert job.folder.status()["pid"]
    desk.queue.hold()
    job.wait_again()
    assert not job.poll(waits=False)
    assert job.state == events.QUEUED


def test_cancel_asks_first_and_keeps_the_engine(desk):
    job = desk.put("slow and steady")
    desk.until(lambda: job.state == events.RUNNING)
    pid = desk.pid()
    desk.cancel(job)
    assert job.is_cancelling
    desk.until(lambda: job.is_over)
    assert job.state == events.CANCELLED
    assert desk.pid() == pid
    desk.resume(job)
    desk.finish(job)
    assert job.state == events.DONE


def test_cancel_kills_an_engine_that_does_not_stop_and_its_children(desk, monkeypatch):
    monkeypatch.setattr(job_module, "CANCEL_GRACE_SECONDS", 0.3)
    job = desk.put("fork a child")
    child_file = job.folder.path / "child.pid"
    desk.until(lambda: child_file.exists() and child_file.read_text())
    child = int(child_file.read_text())
    assert processes.is_alive(child)
    desk.cancel(job)
    desk.until(lambda: job.is_over)
    assert job.state == events.CANCELLED
    assert job.failure is None
    desk.until(lambda: not _runs(child))


def test_slow_steps_get_more_time_to_notice_a_cancel(desk):
    job = desk.put("a red mug")
    job.progress = events.Progress("Optimising", 3, 10, rate=0.1)
    job.cancel()
    assert job._patience == pytest.approx(30.0)


def test_an_engine_that_keeps_a_job_after_its_end_is_killed(desk, monkeypatch):
    monkeypatch.setattr(job_module, "EXIT_GRACE_SECONDS", 0.5)
    assert desk.run("linger on").state == events.DONE


def test_garbage_between_the_events_is_skipped(desk):
    assert desk.run("garbage everywhere").state == events.DONE


def test_the_engine_gets_nothing_of_blenders_python(desk, engine, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/blender/modules")
    monkeypatch.setenv("HF_TOKEN", "kept")
    job = desk.run("show the environment")
    environment = json.loads((job.folder.path / "environment.json").read_text())
    assert "PYTHONHOME" not in environment
    assert environment["PYTHONPATH"] == str(headless.ROOT)
    assert environment["PYTHONNOUSERSITE"] == environment["PYTHONUTF8"] == environment["HF_HUB_OFFLINE"] == "1"
    assert environment["HF_TOKEN"] == "kept"
    assert list(Path(environment["cwd"]).iterdir()) == []  # an empty folder, in which no hub id can be taken for a file
    assert "HF_HUB_OFFLINE" not in Engine(engine.python, engine.package_parent, online=True).environment({})


def test_a_prompt_never_reaches_a_shell_or_a_path(desk, tmp_path):
    job = desk.run("../../$(touch hacked); `touch hacked` \"a\" 'b' 🫖")
    assert job.state == events.DONE
    assert job.folder.path.parent == tmp_path / "results"
    assert not list(tmp_path.rglob("hacked"))


def test_two_jobs_in_one_second_get_two_folders(desk):
    folders = {desk.create(JobRequest(prompt="a red mug")).folder.path for _ in range(3)}
    assert len(folders) == 3


def no_python(tmp_path):
    return None


def missing_python(tmp_path):
    return tmp_path / "no" / "python"


def not_executable(tmp_path):
    program = tmp_path / "python.txt"
    program.write_text("not a program")
    return program


def a_folder(tmp_path):
    return tmp_path


def no_program(tmp_path):
    program = tmp_path / "python"
    program.write_bytes(b"\x00\x01\x02")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (no_python, "No Python for the engine was found"),
        (missing_python, "does not exist"),
        (not_executable, "may not be run as a program"),
        (a_folder, "may not be run as a program"),
        (no_program, "is not a program that this computer can run"),
    ],
)
def test_a_python_that_cannot_start_is_reported_with_the_cure(tmp_path, python, words):
    desk = Desk(tmp_path / "results", Engine(python(tmp_path), headless.ROOT))
    job = desk.put("a red mug")
    desk.until(lambda: desk.trouble)
    assert words in desk.trouble
    assert "preferences" in desk.trouble
    assert job.state == events.QUEUED  # it waits for a working Python
    assert [ticket.name for ticket in desk.queue.waiting()] == [job.name]
    desk.give_up(job)
    assert job.failure.exit_code == EXIT_ENVIRONMENT
    again = refreshed(job.folder)
    assert (again.state, again.failure.message) == (events.FAILED, job.failure.message)


def test_a_program_that_never_serves_gives_way_to_the_next_that_is_chosen(tmp_path, engine):
    package = tmp_path / "other" / "sdi_engine"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text("import time\ntime.sleep(600)\n")
    desk = Desk(tmp_path / "results", Engine(Path(sys.executable), package.parent))
    job = desk.put("a red mug")
    desk.until(lambda: desk._process.is_starting)
    wrong = desk._process._process
    desk.engine = engine
    desk.until(lambda: job.is_over)
    assert job.state == events.DONE
    assert wrong.poll() is not None
    desk.close()


def test_a_job_that_waits_for_an_engine_is_done_once_there_is_one(tmp_path, engine):
    desk = Desk(tmp_path / "results", Engine(tmp_path / "no python", headless.ROOT))
    job = desk.put("a red mug")
    desk.until(lambda: desk.trouble)
    desk.engine = engine
    desk.go_on()
    desk.until(lambda: job.is_over)
    assert job.state == events.DONE
    desk.close()


def test_an_engine_says_itself_why_it_does_not_start(tmp_path, engine):
    desk = Desk(tmp_path / "results", dataclasses.replace(engine, cluster=NOBODY))
    job = desk.run("a red mug")
    assert (job.failure.message, job.failure.exit_code) == (NO_ANSWER, EXIT_ENVIRONMENT)
    desk.engine = dataclasses.replace(engine, cluster=ADDRESS)
    desk.resume(job)
    assert desk.finish(job).state == events.DONE
    assert job.notices == ["This is done on the cluster."]
    desk.close()


@pytest.mark.parametrize(("wrong", "words"), [({"cluster": "a b"}, "is no address"), ({"processes": 0}, "at least 1")])
def test_what_no_engine_could_start_with_is_refused_before_a_job_waits_for_it(tmp_path, engine, wrong, words):
    desk = Desk(tmp_path / "results", dataclasses.replace(engine, **wrong))
    with pytest.raises(BadInputError, match=words):
        desk.put("a red mug")
    assert not desk.results.exists()


def test_a_program_that_is_no_python_fails_the_job_with_the_cure(tmp_path):
    desk = Desk(tmp_path / "results", Engine(Path("/bin/false"), headless.ROOT))
    job = desk.run("a red mug")
    assert job.state == events.FAILED
    assert "could not start with the Python" in job.failure.message


def test_a_program_that_does_nothing_is_not_started_for_ever(tmp_path):
    desk = Desk(tmp_path / "results", Engine(Path("/bin/true"), headless.ROOT))
    job = desk.run("a red mug")
    assert job.state == events.FAILED
    assert "could not start with the Python" in job.failure.message


def test_results_that_cannot_be_written_are_bad_input(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(BadInputError, match="choose a results folder"):
        Job.create(tmp_path / "results", JobRequest(prompt="a red mug"))


def test_a_running_job_is_found_again_watched_and_cancelled(desk, engine, tmp_path):
    job = desk.put("slow and steady")
    desk.until(lambda: job.state == events.RUNNING)
    found = refreshed(job.folder)
    assert found.state == events.RUNNING
    other = Desk(tmp_path / "results", engine)
    other.watch([found])
    other.cancel(found)
    other.until(lambda: found.is_over)
    assert found.state == events.CANCELLED


def test_a_job_that_another_blender_has_resumed_is_not_resumed_again(desk, engine, tmp_path):
    job = desk.put("slow")
    desk.until(lambda: job.state == events.RUNNING)
    other, theirs = Desk(tmp_path / "results", engine), refreshed(job.folder)
    theirs.state = events.CANCELLED  # as it was when that Blender saw it last
    with pytest.raises(BadInputError, match="at this job already"):
        other.resume(theirs)
    assert job.folder.status() is not None
    assert desk.queue.waiting() == []
    job.finish()
    desk.until(lambda: job.is_over)
    assert job.state == events.DONE


def test_a_python_without_torch_says_what_to_install(tmp_path):
    """The real engine, in a Python without packages."""
    program = tmp_path / "bare python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    program.chmod(0o755)
    desk = Desk(tmp_path / "results", Engine(program, headless.ROOT))
    job = desk.run("a red mug")
    assert job.state == events.FAILED
    assert job.failure.exit_code == EXIT_ENVIRONMENT
    assert "pip install" in job.failure.message
    desk.close()


def test_a_job_folder_that_vanishes_does_no_harm(desk, tmp_path):
    job = desk.put("slow and steady")
    desk.until(lambda: job.state == events.RUNNING)
    job.folder.path.rename(tmp_path / "elsewhere")
    desk.until(lambda: job.is_over)
    assert job.state == events.FAILED


def test_a_found_job_whose_engine_is_gone_has_failed(desk):
    job = desk.put("slow and steady")
    desk.until(lambda: job.state == events.RUNNING)
    job.kill()
    desk.until(lambda: desk.pid() is None)
    found = refreshed(job.folder)
    assert found.state == events.FAILED
    assert "resume" in found.failure.message


def test_a_job_queued_by_somebody_else_starts_no_engine_until_requested(desk, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setenv(machine.FOLDER_VARIABLE, str(tmp_path / "somebody else"))
        theirs = desk.create(JobRequest(prompt="a red mug"))
        JobQueue(desk.results).add(theirs.name)
    before = sorted(tmp_path.rglob("*"))
    for _ in range(5):
        desk.poll()
    assert [ticket.is_ours for ticket in desk.waiting] == [False]
    assert desk.pid() is None
    assert sorted(tmp_path.rglob("*")) == before
    assert desk.ticket_from_elsewhere(theirs.name).host == machine.here().host
    assert desk.run("a blue mug").state == events.DONE
    assert not theirs.folder.result_file.exists()
    desk.run_here(theirs)
    assert desk.finish(theirs).state == events.DONE


def test_an_engine_with_outdated_settings_ends_before_the_next_job(desk, engine, monkeypatch):
    slow, mug = desk.put("slow"), desk.put("environment before")
    desk.until(lambda: slow.state == events.RUNNING)
    first = desk.pid()
    desk.engine = Engine(engine.python, engine.package_parent, online=True)
    desk.until(desk.queue.leave_flag.exists)
    slow.finish()
    desk.until(lambda: not desk.is_busy)
    assert slow.state == events.DONE  # it finishes the job that it had begun
    environment = json.loads((mug.folder.path / "environment.json").read_text())
    assert environment["pid"] != first
    assert "HF_HUB_OFFLINE" not in environment
    again = desk.run("environment again")
    assert json.loads((again.folder.path / "environment.json").read_text())["pid"] == environment["pid"]


@pytest.mark.parametrize("what", ["python", "environment", "online", "version"])
def test_all_settings_fixed_at_the_start_distinguish_engines(desk, engine, what):
    desk.run("a red mug")
    status = desk.queue.status()
    assert engine.identity().is_that_of(status)
    changed = {**status["engine"], what: "another"}
    assert not engine.identity().is_that_of({**status, "engine": changed})
    assert not engine.identity().is_that_of({"pid": 1})  # of version 0.1


def test_a_better_python_is_used_at_once(tmp_path, engine):
    """A Generate before the set-up has started an engine without torch, which keeps running for its idle minutes."""
    bare = tmp_path / "bare python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    desk = Desk(tmp_path / "results", Engine(bare, headless.ROOT))
    job = desk.run("a red mug")
    assert job.failure.exit_code == EXIT_ENVIRONMENT
    assert desk.pid() is not None
    desk.engine = engine
    desk.resume(job)
    assert desk.finish(job).state == events.DONE, "the engine without torch took it"
    assert "fake worker: resume" in job.log_tail()
    desk.close()


def test_a_results_folder_that_is_deleted_ends_its_jobs_and_the_next_one_is_done(desk, tmp_path):
    jobs = [desk.put("slow and steady"), desk.put("a red mug")]
    desk.until(lambda: jobs[0].state == events.RUNNING)
    pid = desk.pid()
    desk.results.rename(tmp_path / "bin")

    def all_are_over():
        with contextlib.suppress(FileNotFoundError):  # for an instant it may only be away
            desk.poll()
        return not desk.is_busy

    deadline = time.monotonic() + 60.0
    while not all_are_over():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert all("deleted" in job.failure.message for job in jobs)
    assert desk.poll() == []
    process.end_tree(pid)  # the stand-in writes nothing, and so does not notice
    assert desk.run("a blue mug").state == events.DONE


def test_a_job_goes_on_though_somebody_has_deleted_the_queue_around_it(desk):
    job = desk.put("slow and steady")
    desk.until(lambda: job.state == events.RUNNING)
    pid = desk.pid()
    shutil.rmtree(desk.queue.folder)
    assert desk.poll() in ([], [job])
    job.finish()
    desk.until(lambda: job.is_over)
    assert job.state == events.DONE
    process.end_tree(pid)
    assert desk.run("a blue mug").state == events.DONE


def test_a_drive_that_is_away_for_an_instant_costs_no_job(desk, monkeypatch, tmp_path):
    monkeypatch.setattr(job_module, "device_of", lambda path: -1)  # what is left on the way to it is on another device
    jobs = [desk.put(f"mug {number}") for number in range(3)]
    desk.queue.hold()
    desk.poll()
    for mount_point in (False, True):
        desk.results.rename(tmp_path / "away")
        if mount_point:
            desk.results.mkdir()
        for _ in range(3):
            with pytest.raises(FileNotFoundError):
                desk.poll()
        if mount_point:
            assert list(desk.results.iterdir()) == []
            desk.results.rmdir()
        (tmp_path / "away").rename(desk.results)
        assert desk.poll() == []
        assert [job.state for job in jobs] == [events.QUEUED] * 3
    desk.go_on()
    desk.until(lambda: not desk.is_busy)
    assert [job.state for job in jobs] == [events.DONE] * 3


def test_waiting_for_a_job_outlasts_a_drive_that_is_away(desk, monkeypatch):
    polls = []
    poll = desk.runner.poll

    def poll_or_miss(find_engine):
        polls.append(1)
        if len(polls) < 4:
            raise FileNotFoundError(2, "No such file or directory")
        return poll(find_engine)

    monkeypatch.setattr(desk.runner, "poll", poll_or_miss)
    assert desk.run("a red mug").state == events.DONE
    polls.clear()
    monkeypatch.setattr(wait, "PATIENCE_SECONDS", -1.0)
    with pytest.raises(StorageError, match="cannot be used"):
        desk.run("a blue mug")


def test_a_waiting_job_whose_folder_is_deleted_waits_no_longer(desk):
    desk.queue.hold()
    job, mug = desk.put("a red mug"), desk.put("a blue mug")
    shutil.rmtree(job.folder.path)
    desk.runner.queue = JobQueue(desk.results)  # as after a restart
    desk.until(lambda: job.is_over)
    assert "deleted" in job.failure.message
    assert [ticket.name for ticket in desk.queue.waiting()] == [mug.name]


def test_2d_previews_of_another_blender_are_left_alone(desk, engine, tmp_path):
    desk.queue.hold()
    other = Desk(tmp_path / "results", engine)
    theirs = other.sample(JobRequest(prompt="a red mug"))
    desk.sample(JobRequest(prompt="a blue mug"))
    assert theirs.folder.request_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_and_waits(tmp_path, fake_python, number):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import headless; headless.load()\n"
        "from pathlib import Path\n"
        "from sdi_text_to_3d.jobs.engine import Engine\n"
        "from sdi_text_to_3d.jobs.runner import Runner\n"
        "from sdi_text_to_3d.jobs.wait import wait_for\n"
        "from sdi_text_to_3d.sdi_engine.contract.request import JobRequest\n"
        "runner = Runner(Path(sys.argv[2]), 1.0)\n"
        "job = runner.create(JobRequest(prompt='slow'))\n"
        "runner.submit(job)\n"
        "engine = Engine(Path(sys.argv[3]), headless.ROOT)\n"
        "wait_for(runner, job, lambda: engine, lambda job: print(job.state, flush=True))\n"
        "runner.free_memory()\n"
        "print('ended', job.state)\n"
    )
    command = [sys.executable, "-c", script, str(headless.ROOT), str(tmp_path / "results"), str(fake_python)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while "running" not in (line := child.stdout.readline()):
            assert line, "it ended before it ran"
        child.send_signal(number)
        output = child.stdout.read()
    assert "ended cancelled" in output


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return Path("/proc").exists() is False and processes.is_alive(pid)


def test_is_alive():
    assert processes.is_alive(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not processes.is_alive(child.pid)


def test_an_engine_killed_at_any_moment_costs_no_job(desk):
    """Before, while and after it takes jobs; `SDI_FUZZ_KILLS` says how often."""
    dice = random.Random(19)
    whole = desk.run("a red mug")
    jobs = [desk.put("a red mug") for _ in range(4)]
    for _ in range(int(os.environ.get("SDI_FUZZ_KILLS", "4"))):
        if not desk.is_busy:
            jobs.append(desk.put("a red mug"))
        desk.until(lambda: desk.pid() is not None or not desk.is_busy)  # the last job may have ended meanwhile
        time.sleep(dice.uniform(0.0, 0.15))
        if pid := desk.pid():
            process.end_tree(pid)
        desk.poll()
        for job in jobs:
            if job.state == events.FAILED:
                desk.resume(job)
    desk.until(lambda: not desk.is_busy or any(job.state == events.FAILED for job in jobs))
    for job in jobs:
        if job.state != events.DONE:
            desk.resume(job)
            desk.finish(job)
        assert job.state == events.DONE, job.failure
        assert job.folder.mesh_file.read_bytes() == whole.folder.mesh_file.read_bytes()
    assert desk.queue.waiting() == []
