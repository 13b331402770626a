"""Only one of a person's engines uses the device at a time, whichever command started it."""

import pytest

from sdi_engine.cli import commands
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import EXIT_CANCELLED, EXIT_ENVIRONMENT, EnvironmentMissingError, JobCancelledError
from sdi_engine.evaluation import evaluate
from sdi_engine.service import device
from sdi_engine.service.device import Device, device_taken

COMMANDS = {
    "generate": ["generate", "a red mug", "-o", "OUT"],
    "run": ["run", "JOB"],
    "resume": ["resume", "JOB"],
    "sample": ["sample", "a red mug", "-o", "OUT"],
    "distill2d": ["distill2d", "a red mug", "-o", "OUT"],
    "compare": ["compare", "a red mug", "-o", "OUT"],
    "noise-error": ["noise-error", "a red mug", "-o", "OUT"],
    "figures": ["figures", "8", "-o", "OUT"],
    "evaluate": ["evaluate", "--prompt", "a red mug", "--samples", "0", "-o", "OUT"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_every_command_takes_the_device_before_it_computes(arguments, tmp_path, monkeypatch):
    asked = []

    def refuse(self):
        asked.append(self)
        raise JobCancelledError("The device was asked for.")

    monkeypatch.setattr(Device, "acquire", refuse)
    places = {"OUT": str(tmp_path / "out"), "JOB": str(tmp_path / "job")}
    JobFolder.create(tmp_path / "job", JobRequest("a red mug"))
    assert commands.main([places.get(word, word) for word in arguments]) == EXIT_CANCELLED
    assert len(asked) == 1


def test_an_evaluation_on_a_cluster_leaves_the_device_of_this_computer_alone(tmp_path, monkeypatch):
    def refuse(*asked):
        raise EnvironmentMissingError("Nobody answers.")

    monkeypatch.setattr(evaluate, "open_pool", refuse)
    monkeypatch.setattr(Device, "acquire", lambda self: pytest.fail("The device was taken."))
    arguments = ["evaluate", "--prompt", "a red mug", "--cluster", "auto", "-o", str(tmp_path / "out")]
    assert commands.main(arguments) == EXIT_ENVIRONMENT


def test_a_waiting_engine_reports_it_gets_the_device_next_and_frees_memory(monkeypatch):
    given_back = []
    monkeypatch.setattr(device, "give_memory_back", lambda: given_back.append(True))
    busy, heard, looks = Device(), [], []
    assert busy.acquire()
    assert not busy.is_wanted

    def stop():
        looks.append(busy.is_wanted)
        busy.release()
        assert not busy.acquire(), "it has to wait for its turn, too"

    with device_taken(heard.append, stop):
        assert [event.message for event in heard] == [device.WAITING]
        assert looks == [True]
        assert not given_back
        assert not busy.acquire()
    assert given_back == [True]
    assert busy.acquire()
    busy.release()


def test_a_cancelled_job_stops_waiting_and_blocks_nobody(tmp_path):
    folder = JobFolder.create(tmp_path / "job", JobRequest("a red mug"))
    folder.cancel_flag.touch()
    busy = Device()
    assert busy.acquire()
    with pytest.raises(JobCancelledError), device_taken(lambda event: None, folder.stop_if_told):
        pytest.fail("it was not its turn")
    assert not busy.is_wanted
    busy.release()


def test_each_card_that_an_engine_was_given_has_a_lock_of_its_own(monkeypatch):
    locks = []
    for cards in ("0", "1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", cards)
        locks.append(Device())
    assert all(lock.acquire() for lock in locks)
    for lock in locks:
        lock.release()
