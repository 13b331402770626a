"""Arbitrary tickets and status files: no foreign job runs, no process is killed, and no job of ours is lost."""

import json
import os
import random

import pytest

from sdi_engine.contract import attendance
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.job_queue import VERBS, JobQueue
from sdi_engine.system import processes

CASES = int(os.environ.get("SDI_FUZZ_CASES", "300"))


@pytest.fixture
def queue(tmp_path):
    queue = JobQueue(tmp_path / "results")
    queue.make_folders()
    return queue


def any_value(dice, depth=0):
    """A random JSON value, plausible or not."""
    simple = [None, True, False, 0, -1, 1, 1e308, -(2**63), 2**63, 10**400, "", "run", "a\x1b[2Jb", "..", "é" * 50]
    ours = list(processes.ourselves().values())
    choice = dice.random()
    if choice < 0.2 and depth < 3:
        return [any_value(dice, depth + 1) for _ in range(dice.randrange(3))]
    if choice < 0.4 and depth < 3:
        return {str(any_value(dice, 3)): any_value(dice, depth + 1) for _ in range(dice.randrange(3))}
    return dice.choice(simple + ours)


def damaged(dice, text):
    """The text with a part of it removed, doubled or replaced."""
    data = bytearray(text.encode("utf-8", "replace"))
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.randrange(8)] = bytes(dice.randrange(256) for _ in range(dice.randrange(4)))
    return bytes(data)


def test_only_our_tickets_are_taken_and_ours_always_are(queue):
    dice = random.Random(19)
    for name in ("mine", "other"):
        folder = queue.results / name
        folder.mkdir()
        (folder / "request.json").write_text(name)
    queue.add("mine")
    mine = queue.tickets_folder / queue.waiting()[0].file_name
    sealed = mine.read_text()
    for _ in range(CASES):
        name = dice.choice(["other", "..", ".", "no such job", "a\x1b[2J", "con", "x" * 200])
        file = queue.tickets_folder / f"{dice.randrange(10**15):016d} {dice.choice(VERBS)} {name}"
        fields = {"author": any_value(dice), "seal": any_value(dice)}
        file.write_bytes(damaged(dice, dice.choice([sealed, json.dumps(fields)])) if dice.random() < 0.8 else b"")
        fresh = JobQueue(queue.results)
        assert [ticket.name for ticket in fresh.waiting() if ticket.is_ours] == ["mine"]
        assert fresh.next_of_ours().name == "mine"
        assert all(isinstance(ticket.host, str) and "\x1b" not in ticket.host for ticket in fresh.waiting())
        file.unlink()
    assert JobQueue(queue.results).take().name == "mine"


def test_no_status_makes_us_kill_a_process_or_crash(queue, monkeypatch):
    monkeypatch.setattr(processes, "_command_line", lambda pid: None)
    dice = random.Random(19)
    folder = JobFolder(queue.results / "job")
    folder.path.mkdir()
    said = processes.ourselves() | {"pid": os.getppid(), "process_start": processes.start_time(os.getppid())}
    for _ in range(CASES):
        status = said | {"job": "job", "heartbeat": 1.0}
        name = dice.choice(["machine", "boot", "namespace", "person", "pid", "process_start"])
        status[name] = any_value(dice)
        for file in (folder.status_file, queue.status_file):
            text = json.dumps(status)
            file.write_bytes(damaged(dice, text) if dice.random() < 0.5 else text.encode())
        found = folder.status()
        if found is None or any(found.get(key) != said[key] for key in said if key != "host"):
            assert not attendance.is_ours_to_end(folder)
        assert attendance.is_attended(folder) in (True, False)
        assert isinstance(attendance.machine_elsewhere(folder), str)
        engine = queue.status()
        assert engine is None or all(isinstance(name, str) for name in engine["jobs"])
        folder.leave()
        assert folder.status_file.exists()
    for file in (folder.status_file, queue.status_file):
        file.write_text(json.dumps(said | {"job": "job"}))
    assert attendance.is_ours_to_end(folder) == bool(said["process_start"])
