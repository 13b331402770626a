"""Whether a process is alive: asked of the system if possible, else observed, by the observer's own clock alone."""

import ctypes
import os
import signal
import subprocess
import sys

import pytest

from sdi_engine.system import machine, processes
from sdi_engine.system.liveness import LONGEST_LOOK_SECONDS, STALE_SECONDS, Pulse, Stopwatch

NEEDS_PROC = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Clock:
    """A monotonic clock that the test advances."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def child():
    """A process that sleeps."""
    program = "print('ready', flush=True); import time; time.sleep(60)"
    command = [sys.executable, "-c", program, "sdi_engine"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        yield process
        process.kill()


def of(process, **changes):
    """The identity that a process would write."""
    start = processes.start_time(process.pid)
    return processes.ourselves() | {"pid": process.pid, "process_start": start} | changes


def test_a_long_gap_between_two_looks_counts_little():
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now += 36_000.0  # the laptop slept
    assert watch.look() == LONGEST_LOOK_SECONDS
    clock.now -= 50.0  # a monotonic clock should not, but some do
    assert watch.look() == LONGEST_LOOK_SECONDS
    clock.now += 1.0
    assert watch.look() == LONGEST_LOOK_SECONDS + 1.0
    watch.restart()
    assert watch.look() == 0.0


def test_a_process_without_heartbeats_counts_as_gone_and_may_come_back():
    clock = Clock()
    pulse = Pulse(clock)
    assert pulse.beats(1.0)
    clock.now += 36_000.0
    assert pulse.beats(1.0)
    for _ in range(int(STALE_SECONDS)):
        clock.now += 1.0
        beats = pulse.beats(1.0)
    assert not beats
    assert pulse.beats(2.0)
    clock.now += STALE_SECONDS - 1.0
    assert pulse.beats(2.0)


def test_a_heartbeat_that_is_no_number_does_not_count():
    clock = Clock()
    pulse = Pulse(clock)
    for _ in range(40):
        clock.now += 1.0
        beats = pulse.beats(float("nan"))
    assert not beats


def test_a_process_is_known_by_its_start(child):
    said = of(child)
    assert processes.runs(said)
    if said["process_start"]:
        assert not processes.runs(said | {"process_start": "another had this id before"})
    assert processes.start_time(os.getpid()) == processes.ourselves()["process_start"]
    assert processes.is_ourselves(processes.ourselves())
    assert not processes.is_ourselves(said)
    assert not processes.is_ourselves({})


@NEEDS_PROC
def test_a_stopped_process_lives_and_one_that_was_not_waited_for_does_not(child):
    said = of(child)
    child.send_signal(signal.SIGSTOP)
    assert processes.runs(said)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.is_alive(child.pid)
    assert not processes.runs(said)
    child.wait()
    assert not processes.runs(said)


def test_the_system_knows_nothing_of_a_process_elsewhere(child):
    for changes in ({"machine": "another"}, {"namespace": "another container"}):
        assert processes.runs(of(child, **changes)) is None
    for said in ({}, {"pid": child.pid}, of(child, pid=True), of(child, pid=-1), of(child, pid=10**400)):
        assert processes.runs(said) is None


@pytest.mark.skipif(not machine.here().boot, reason="this system does not tell its boots apart")
def test_what_ran_before_the_machine_was_started_again_runs_no_more(child):
    assert processes.runs(of(child, boot="an earlier one")) is False


@NEEDS_PROC
def test_only_an_engine_of_this_person_on_this_machine_may_be_ended(child):
    assert processes.is_ours_to_end(of(child))
    changes = [
        {"machine": "another"},
        {"namespace": "another container"},
        {"boot": "another"},
        {"person": "somebody else"},
        {"process_start": "another had this id before"},
        {"process_start": ""},
        {"pid": 1},
    ]
    for change in changes:
        assert not processes.is_ours_to_end(of(child, **change)), change
    assert not processes.is_ours_to_end({"pid": child.pid, "started": 1.0, "heartbeat": 1.0})  # of version 0.1
    with subprocess.Popen(["sleep", "60"]) as other:
        assert not processes.is_ours_to_end(of(other))
        other.kill()


class WindowsOfOthers:
    """The kernel of a Windows on which somebody else's processes run, which may not be opened."""

    def __init__(self, *pids):
        self.pids, self.error = pids, 0
        self.OpenProcess = lambda access, inherited, pid: self.refuse(pid)

    def refuse(self, pid):
        self.error = 5 if pid in self.pids else 87  # ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER


def test_a_process_that_may_not_be_asked_on_windows_lives(monkeypatch):
    theirs = processes.ourselves() | {"pid": 4321, "process_start": "100", "person": "somebody else"}
    kernel = WindowsOfOthers(4321)
    monkeypatch.setattr(processes.sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, use_last_error: kernel, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: kernel.error, raising=False)
    assert processes.is_alive(4321)
    assert not processes.is_alive(4322)
    assert processes.runs(theirs)
    assert not processes.runs(theirs | {"pid": 4322})
    ours = theirs | {"person": machine.here().person}
    assert not processes.runs(ours)  # somebody else's process got its id
