"""The jobs of a results folder that wait for the engine, and the engine that takes them. Standard library only.

RESULTS/.engine/
    queue/          one empty file for each job that waits: its name says when its turn is, what to do, and which job
    looks/          the job folders of 2D previews
    status.json     {"pid": …, "started": …, "heartbeat": …, "job": …, "model": …} of the engine that serves this folder
    log.txt         what the engine printed between jobs
    hold            flag file: take no job, and leave; that is how memory is freed while jobs wait
    leave           flag file: leave when no job is running

A job is taken by deleting its ticket, which succeeds for one taker only; so Blender and the engine need no lock.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import make_folder_of_ours, read_json_object, refuse_link, replace_file, touch, write_atomically
from .job_folder import STALE_HEARTBEAT_SECONDS, JobFolder
from .processes import is_alive

RUN = "run"
RESUME = "resume"
SAMPLE = "sample"
VERBS = (RUN, RESUME, SAMPLE)
"""Make the mesh, go on making it, show what the 2D model makes of the prompt."""

ENGINE_FOLDER = ".engine"

_TICKET = re.compile(rf"(\d{{16}}) ({'|'.join(VERBS)}) (.+)")


@dataclass(frozen=True, order=True)
class Ticket:
    """A job that waits; those with lower `turn` come first."""

    turn: int
    verb: str
    name: str

    @property
    def file_name(self) -> str:
        return f"{self.turn:016d} {self.verb} {self.name}"


class JobQueue:
    """The queue of a results folder, as both Blender and the engine see it; every method raises OSError."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.folder = results / ENGINE_FOLDER
        self.tickets_folder = self.folder / "queue"
        self.looks_folder = self.folder / "looks"
        self.status_file = self.folder / "status.json"
        self.log_file = self.folder / "log.txt"
        self.hold_flag = self.folder / "hold"
        self.leave_flag = self.folder / "leave"

    @property
    def is_held(self) -> bool:
        return self.hold_flag.exists()

    def make_folders(self) -> None:
        """Make what must be there before a job can wait."""
        self.results.mkdir(parents=True, exist_ok=True)
        make_folder_of_ours(self.folder)
        make_folder_of_ours(self.tickets_folder)

    def job_folder(self, ticket: Ticket) -> JobFolder:
        """Where the ticket's job lives."""
        return JobFolder((self.looks_folder if ticket.verb == SAMPLE else self.results) / ticket.name)

    def add(self, name: str, verb: str = RUN, *, first: bool = False) -> None:
        """Let a job wait for its turn, after all others or before them; one that waits already gets a new turn."""
        for _ in self.add_all([name], verb, first=first):
            pass

    def add_all(self, names: Sequence[str], verb: str = RUN, *, first: bool = False) -> Iterator[str]:
        """As `add`, for many in this order, with one look at the queue; each name as soon as its job waits."""
        self.make_folders()
        waiting = self.waiting()
        turn = time.time_ns() // 1000
        if first and waiting:
            turn = waiting[0].turn - len(names)
        elif waiting:
            turn = max(turn, waiting[-1].turn + 1)
        self._tear_up_all(waiting, set(names))
        for place, name in enumerate(names):
            touch(self.tickets_folder / Ticket(turn + place, verb, name).file_name)
            yield name

    def waiting(self) -> list[Ticket]:
        """All that wait, the next one first; empty where there is no queue yet."""
        for folder in (self.folder, self.tickets_folder):
            refuse_link(folder)
        try:
            names = os.listdir(self.tickets_folder)  # noqa: PTH208 (a quarter of the time, four times a second)
        except FileNotFoundError:
            return []
        matches = filter(None, map(_TICKET.fullmatch, names))
        return sorted(Ticket(int(match[1]), match[2], match[3]) for match in matches)

    def remove(self, name: str) -> bool:
        """Let a job wait no longer; False where it did not wait."""
        return bool(self.remove_all({name}))

    def remove_all(self, names: Container[str]) -> list[str]:
        """Let these jobs wait no longer; the names of those that did wait, the next one first."""
        return self._tear_up_all(self.waiting(), names)

    def move(self, name: str, by: int) -> None:
        """Let a waiting job change its turn with the next one (`by` = 1) or the one before (−1), where there is one."""
        waiting = self.waiting()
        place = next((index for index, ticket in enumerate(waiting) if ticket.name == name), None)
        if place is None or not 0 <= place + by < len(waiting):
            return
        one, other = waiting[place], waiting[place + by]
        for ticket, turn in ((one, other.turn), (other, one.turn)):
            renamed = Ticket(turn, ticket.verb, ticket.name)
            try:
                replace_file(self.tickets_folder / ticket.file_name, self.tickets_folder / renamed.file_name)
            except FileNotFoundError:  # the engine has just taken it
                continue

    def take(self) -> Ticket | None:
        """The job whose turn it is, which waits no longer; None where none waits, or the queue is held."""
        if self.is_held:
            return None
        return next((ticket for ticket in self.waiting() if self._tear_up(ticket)), None)

    def hold(self) -> None:
        """Let the engine take no more jobs, and leave as soon as none is running."""
        self.make_folders()
        touch(self.hold_flag)

    def release(self) -> None:
        """Undo `hold` and `leave`."""
        self.hold_flag.unlink(missing_ok=True)
        self.leave_flag.unlink(missing_ok=True)

    def beat(self, started: float, job: str, model: str) -> None:
        """Say in `status.json` that this process serves the queue; `started` is a Unix time in seconds."""
        status = {"pid": os.getpid(), "started": started, "heartbeat": time.time(), "job": job, "model": model}
        write_atomically(self.status_file, json.dumps(status))

    def status(self) -> dict[str, Any] | None:
        """What the engine that serves this queue said last; None where none serves it, or it is gone."""
        status = read_json_object(self.status_file) or {}
        pid, heartbeat = status.get("pid"), status.get("heartbeat")
        fresh = isinstance(heartbeat, float) and time.time() - heartbeat < STALE_HEARTBEAT_SECONDS
        return status if fresh and isinstance(pid, int) and is_alive(pid) else None

    def _tear_up_all(self, waiting: Iterable[Ticket], names: Container[str]) -> list[str]:
        return [ticket.name for ticket in waiting if ticket.name in names and self._tear_up(ticket)]

    def _tear_up(self, ticket: Ticket) -> bool:
        try:
            (self.tickets_folder / ticket.file_name).unlink()
        except FileNotFoundError:
            return False
        return True
