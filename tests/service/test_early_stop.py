"""Cancel and pause are heard while Python still imports what the job needs, and the import is not broken off."""

import threading
import time

import pytest

from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE
from sdi_engine.service import early_stop, worker


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(early_stop, "LOOK_SECONDS", 0.01)


@pytest.fixture
def folder(tmp_path):
    return JobFolder.create(tmp_path / "job", JobRequest("a mug"))


def states(folder):
    seen, _ = events.read_new(folder.events_file, 0)
    return [event.state for event in seen if isinstance(event, events.StateChanged)]


class Importing:
    """A job's work that imports until it is let go on."""

    def __init__(self, folder):
        self.goes_on, self.did_work = threading.Event(), False
        self.code = None
        self.thread = threading.Thread(target=self._run, args=(folder,))
        self.thread.start()

    def _run(self, folder):
        self.code = worker.run(folder.path, resume=False, work=self._work)

    def _work(self, folder, request, resume, report):
        assert self.goes_on.wait(30)
        report(events.StateChanged(events.RUNNING))
        self.did_work = True

    def finish(self):
        self.goes_on.set()
        self.thread.join()


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("flag", "state"), [("cancel", events.CANCELLED), ("pause", events.PAUSED)])
def test_the_job_is_over_at_once_and_its_end_is_told_once(folder, flag, state):
    importing = Importing(folder)
    until(lambda: events.STARTING in states(folder))
    (folder.path / flag).touch()
    until(lambda: states(folder)[-1] == state and not folder.status_file.exists())
    assert importing.thread.is_alive(), "the import goes on, for the next job"
    importing.finish()
    assert importing.code == EXIT_CANCELLED
    assert not importing.did_work
    assert states(folder) == [events.QUEUED, events.STARTING, state]


def test_a_job_that_is_resumed_meanwhile_is_not_done_twice(folder):
    importing = Importing(folder)
    folder.cancel_flag.touch()
    until(lambda: events.CANCELLED in states(folder))
    folder.cancel_flag.unlink()
    folder.append(events.StateChanged(events.QUEUED, by=events.BLENDER))
    importing.finish()
    assert not importing.did_work
    assert states(folder)[-1] == events.QUEUED


def test_a_job_that_runs_hears_for_itself(folder):
    """Where it keeps a checkpoint first."""

    def work(folder, request, resume, report):
        report(events.StateChanged(events.RUNNING))
        folder.cancel_flag.touch()
        time.sleep(0.05)

    assert worker.run(folder.path, resume=False, work=work) == EXIT_DONE
    assert states(folder)[-1] == events.DONE
