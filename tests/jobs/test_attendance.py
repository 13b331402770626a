"""What Blender concludes from a job's folder: whether an engine works on it, and whether it may kill that engine."""

import json
import os
import subprocess
import sys

import pytest
from sdi_text_to_3d.jobs import job as job_module
from sdi_text_to_3d.jobs import process
from sdi_text_to_3d.jobs.job import CANCEL_GRACE_SECONDS, EXIT_GRACE_SECONDS, Job
from sdi_text_to_3d.jobs.library import read_entry
from sdi_text_to_3d.sdi_engine.contract import attendance, events
from sdi_text_to_3d.sdi_engine.contract.job_folder import JobFolder
from sdi_text_to_3d.sdi_engine.contract.job_queue import JobQueue
from sdi_text_to_3d.sdi_engine.contract.request import JobRequest
from sdi_text_to_3d.sdi_engine.system import machine, processes

ELSEWHERE = [{"machine": "another", "host": "nas"}, {"namespace": "another container", "host": "nas"}]


class Engine:
    """A process that stands in for an engine, its status files, and a clock that the test advances."""

    def __init__(self, results):
        program = "print('ready', flush=True); import time; time.sleep(60)"
        command = [sys.executable, "-c", program, "sdi_engine"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        self.process.stdout.readline()
        self.queue = JobQueue(results)
        self.queue.make_folders()
        self.now = 0.0
        self.identity = processes.ourselves() | {
            "pid": self.process.pid,
            "process_start": processes.start_time(self.process.pid),
        }

    def begin(self, name="job", **changes):
        """A running job, from Blender's side."""
        folder = JobFolder.create(self.queue.results / name, JobRequest("a red mug"))
        folder.append(events.StateChanged(events.RUNNING))
        self.beat(folder, **changes)
        job = Job(folder, lambda: self.now)
        assert not job.is_over
        job.poll(waits=False)
        assert job.state == events.RUNNING
        return job

    def beat(self, folder, **changes):
        folder.status_file.write_text(json.dumps(self.identity | {"started": 1.0, "heartbeat": self.now} | changes))

    def say_it_is_at(self, name):
        self.queue.status_file.write_text(json.dumps(self.identity | {"heartbeat": 1.0, "job": name}))

    def look(self, job, seconds, step=1.0):
        """Poll for `seconds`, in steps of `step` seconds."""
        until = self.now + seconds
        while self.now < until:
            self.now += step
            job.poll(waits=False)

    @property
    def lives(self):
        return self.process.poll() is None

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def engine(tmp_path):
    engine = Engine(tmp_path / "results")
    yield engine
    engine.end()


@pytest.fixture(autouse=True)
def nothing_is_written_in_the_engines_name(tmp_path):
    """Blender's conclusions are not written as if the engine had reported them."""
    yield
    for file in tmp_path.rglob("events.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["state"] for line in lines if not line.get("by")] == ["queued", "running"]


def test_a_living_engine_attends_its_job_however_old_its_heartbeat(engine):
    """The machine may have slept, or its clock may have been set."""
    job = engine.begin()
    for file in (job.folder.status_file, job.folder.events_file):
        os.utime(file, (1.0, 1.0))
    engine.look(job, 120.0)
    engine.look(job, 1e5, step=1e4)
    assert job.state == events.RUNNING
    assert job.elsewhere == ""
    assert read_entry(job.folder).state == events.RUNNING


def test_an_engine_that_has_ended_is_known_at_once(engine):
    job = engine.begin()
    engine.end()
    assert job.poll(waits=False)
    assert (job.state, job.is_given_up) == (events.FAILED, False)
    assert "The engine ended without a result" in job.failure.message
    assert read_entry(job.folder).state == events.FAILED


def test_another_process_with_the_same_id_is_not_the_engine(engine):
    job = engine.begin()
    engine.beat(job.folder, process_start="the engine's")
    assert job.poll(waits=False)
    assert job.state == events.FAILED
    job.kill()
    assert engine.lives


@pytest.mark.parametrize("where", ELSEWHERE)
def test_an_engine_elsewhere_counts_until_it_is_silent_and_again_when_it_beats(engine, where):
    job = engine.begin(**where)
    assert job.elsewhere == "nas"
    engine.look(job, 1e5, step=5e4)  # this machine slept, and could not notice the heartbeats
    assert job.state == events.RUNNING
    for _ in range(4):
        engine.look(job, 20.0)
        engine.beat(job.folder, **where, heartbeat=-engine.now)  # its clock may show any time
    engine.look(job, 20.0)
    assert job.state == events.RUNNING
    engine.look(job, 20.0)
    assert (job.state, job.is_given_up) == (events.FAILED, True)
    engine.beat(job.folder, **where)
    assert job.poll(waits=False)
    assert (job.state, job.is_over, job.failure) == (events.RUNNING, False, None)


@pytest.mark.parametrize("where", [*ELSEWHERE, {"person": "somebody else"}])
def test_cancel_only_asks_an_engine_of_somebody_else(engine, where):
    job = engine.begin(**where)
    job.cancel()
    assert job.folder.cancel_flag.exists()
    for _ in range(int(CANCEL_GRACE_SECONDS) + 2):
        engine.look(job, 1.0)
        engine.beat(job.folder, **where)
    assert engine.lives
    assert job.state == events.RUNNING
    assert [notice for notice in job.notices if "asked to stop" in notice] == job.notices[-1:] != []
    job.kill()
    assert engine.lives


def test_cancel_kills_our_engine_if_it_does_not_stop(engine):
    job = engine.begin()
    engine.say_it_is_at("job")
    job.cancel()
    engine.now += 1e4  # but not because this machine slept
    job.poll(waits=False)
    assert engine.lives
    engine.look(job, CANCEL_GRACE_SECONDS + 2.0)
    assert engine.process.wait(60) != 0
    job.poll(waits=False)
    assert job.state == events.CANCELLED
    found = Job(job.folder)
    found.refresh(waits=False)
    assert found.state == read_entry(job.folder).state == events.CANCELLED


def test_a_left_behind_status_does_not_kill_the_engine_at_its_next_job(engine, monkeypatch):
    left, running = engine.begin("left"), engine.begin("running")
    engine.say_it_is_at("running")
    monkeypatch.setattr(process, "end_tree", lambda pid: pytest.fail("the engine was ended"))
    left.cancel()
    engine.look(left, CANCEL_GRACE_SECONDS + EXIT_GRACE_SECONDS + 2.0)
    assert left.is_over
    left.kill()
    engine.look(running, 60.0)
    assert running.state == events.RUNNING


def test_what_another_engine_says_does_not_count_for_this_one(engine):
    """Beside the engine that serves the queue, one that was started by hand works on a job of the same folder."""
    job = engine.begin()
    other = engine.identity | {"pid": engine.process.pid + 1, "heartbeat": 1.0, "job": "another"}
    engine.queue.status_file.write_text(json.dumps(other))
    engine.look(job, 30)
    assert job.state == events.RUNNING
    assert attendance.is_ours_to_end(job.folder)


def test_a_job_that_its_engine_has_left_is_over_though_the_engine_lives(engine):
    """The disk was away when the end should have been reported and the status removed."""
    job = engine.begin()
    engine.say_it_is_at("")
    assert job.poll(waits=False)
    assert job.state == events.FAILED


def test_a_deleted_folder_is_reported_as_deleted(engine):
    job = engine.begin()
    engine.say_it_is_at("job")
    away = engine.queue.results.parent / "elsewhere"
    for _ in range(3):  # for an instant only
        job.folder.path.rename(away)
        engine.look(job, 1.0)
        assert job.state == events.RUNNING
        away.rename(job.folder.path)
        engine.look(job, 1.0)
    job.folder.path.rename(away)
    engine.look(job, 4.0)
    assert job.state == events.FAILED
    assert "deleted" in job.failure.message


def test_a_deleted_results_folder_ends_its_jobs(engine, tmp_path):
    job = engine.begin()
    engine.queue.results.rename(tmp_path / "bin")
    engine.look(job, 1.0)
    assert job.state == events.RUNNING
    engine.look(job, 4.0)
    assert job.state == events.FAILED
    assert "deleted" in job.failure.message


def test_a_results_folder_that_is_away_changes_no_job(engine, monkeypatch, tmp_path):
    monkeypatch.setattr(job_module, "device_of", lambda path: -1)  # what is left on the way to it is on another device
    job = engine.begin()
    engine.queue.results.rename(tmp_path / "away")
    engine.look(job, 10.0)
    assert not job.is_over
    (tmp_path / "away").rename(engine.queue.results)
    engine.look(job, 10.0)
    assert job.state == events.RUNNING


def test_statuses_of_version_0_1_are_judged_by_their_changes_alone(engine):
    job = engine.begin()
    job.folder.status_file.write_text(json.dumps({"pid": engine.process.pid, "started": 1.0, "heartbeat": 1.0}))
    engine.look(job, 20.0)
    assert job.state == events.RUNNING
    engine.look(job, 20.0)
    assert job.state == events.FAILED
    job.kill()
    assert engine.lives


@pytest.mark.skipif(not machine.here().boot, reason="this system does not tell its boots apart")
def test_a_job_from_before_a_restart_is_over_at_once(engine):
    job = engine.begin()
    engine.beat(job.folder, boot="the one before")
    assert job.poll(waits=False)
    assert job.state == events.FAILED
