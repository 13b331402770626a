"""Only one of a person's engines uses the device at a time, whichever command started it."""

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def busy():
    device = Device()
    assert device.acquire()
    yield device
    device.release()


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


def test_a_waiting_engine_reports_it_gets_the_device_next_and_frees_memory(busy, monkeypatch):
    given_back = []
    monkeypatch.setattr(device, "give_memory_back", lambda: given_back.append(True))
    heard, looks = [], []
    assert not busy.is_wanted

    def stop():
        looks.append(busy.is_wanted)
        busy.release()
        assert not busy.acquire(), "it has to wait for its turn, too"

    with device_taken(heard.append, None, stop):
        assert ["Waiting until another engine on this computer" in event.message for event in heard] == [True]
        assert looks == [True]
        assert not given_back
        assert not busy.acquire()
    assert given_back == [True]
    assert busy.acquire()


def test_a_cancelled_job_stops_waiting_and_blocks_nobody(busy, tmp_path):
    folder = JobFolder.create(tmp_path / "job", JobRequest("a red mug"))
    folder.cancel_flag.touch()
    with pytest.raises(JobCancelledError), device_taken(lambda event: None, folder.path, folder.stop_if_told):
        pytest.fail("it was not its turn")
    assert not busy.is_wanted


ENGINE = """
import sys
from pathlib import Path
from sdi_engine.service.device import Device
device = Device(Path(sys.argv[1]))
print(device.acquire(), flush=True)
sys.stdin.readline()
device.release()
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other_engine(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(tmp_path / "theirs")],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def test_who_waits_is_told_for_whom_and_now_and_then_for_how_long(other_engine, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    now, heard = [0.0], []
    monkeypatch.setattr(device.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(device.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + 10.0))

    def stop():
        if now[0] > 1000.0:
            raise JobCancelledError("That was long enough.")

    with pytest.raises(JobCancelledError), device_taken(heard.append, None, stop):
        pytest.fail("it was not its turn")
    who = f'(process {other_engine.pid}, at work in "{tmp_path / "theirs"}")'
    sentence = f"Waiting until another engine on this computer {who} has finished its job."
    assert [event.message for event in heard] == [sentence]
    assert [record.getMessage() for record in caplog.records] == [
        f"{sentence} It has taken {minutes} min so far." for minutes in (1, 2, 4, 8, 16)
    ]


def test_who_has_released_the_device_or_died_is_waited_for_no_more(other_engine):
    other_engine.stdin.write("\n")
    other_engine.stdin.flush()
    assert other_engine.stdout.readline() == "released\n"
    assert "process" not in Device().busy
    ours = Device()
    assert ours.acquire()
    assert f"process {os.getpid()})" in Device().busy, "a command without a folder names none"
    ours.release()


def test_an_engine_that_was_killed_is_not_named(other_engine):
    assert "process" in Device().busy
    other_engine.kill()
    other_engine.communicate()
    assert "process" not in Device().busy


@pytest.mark.parametrize("arguments", [each for name, each in COMMANDS.items() if name != "resume"], ids=str)
def test_ctrl_c_ends_the_waiting_with_the_code_that_says_so(arguments, tmp_path, busy, monkeypatch, caplog):
    caplog.set_level("INFO")

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(device.time, "sleep", interrupted)
    places = {"OUT": str(tmp_path / "out"), "JOB": str(tmp_path / "job")}
    job = JobFolder.create(tmp_path / "job", JobRequest("a red mug"))
    assert commands.main([places.get(word, word) for word in arguments]) == EXIT_CANCELLED
    assert "cancelled" in caplog.text.lower()
    assert not busy.is_wanted
    assert job.status() is None


def test_each_card_that_an_engine_was_given_has_a_lock_of_its_own(monkeypatch):
    locks = []
    for cards in ("0", "1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", cards)
        locks.append(Device())
    assert all(lock.acquire() for lock in locks)
    for lock in locks:
        lock.release()
