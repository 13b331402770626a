"""The jobs of a results folder that wait for an engine, and the engines that take them. Standard library only.

RESULTS/.engine/
    queue/          one file for each job that waits: its name says when its turn is, what to do, and which job; it
                    contains who put it there
    engines/KEY/    of one person's engine on one machine (`machine.Place.key`):
        looks/          the job folders of 2D previews
        status.json     {"pid": …, "started": …, "heartbeat": …, "jobs": […], "model": …, "engine": …, …}
        log.txt         what it printed between jobs
        hold            flag file: take no job, and exit; that is how memory is freed while jobs wait
        leave           flag file: exit when no job is running

A results folder may come from somebody else, or be shared, or copied: an engine takes only tickets that carry the seal
of this person on this machine (`machine.seal`) for this very folder. A job is taken by deleting its ticket, which
succeeds for one taker only; so Blender and the engine need no lock.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..system import machine, processes
from ..system.files import (
    UnsafeFileError,
    make_folder_of_ours,
    make_folder_with_parents,
    names_in,
    read_bytes,
    read_json_object,
    read_text,
    refuse_link,
    remove_file,
    replace_file,
    touch,
    write_atomically,
)
from ..system.untrusted import is_plain_name, parse_json, printable
from .job_folder import JobFolder

RUN = "run"
RESUME = "resume"
SAMPLE = "sample"
VERBS = (RUN, RESUME, SAMPLE)
"""Make the mesh, resume making it, show pictures that the 2D model makes from the prompt."""

ENGINE_FOLDER = ".engine"

_TICKET = re.compile(rf"(\d{{16}}) ({'|'.join(VERBS)}) (.+)")
_LAST_TURN = 10**16 - 1
_LONGEST_TICKET = 10_000

_OF_ONE_JOB = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
"""Errors of one job's folder, which stop that job and no other."""


@dataclass(frozen=True, order=True)
class Ticket:
    """A job that waits; those with lower `turn` come first.

    Attributes:
        is_ours: whether this person let it wait on this machine, in this folder, with the request that it has now.
        author: the process that did (`processes.ourselves`); empty where the ticket does not say.
    """

    turn: int
    verb: str
    name: str
    is_ours: bool = field(default=False, compare=False)
    author: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def file_name(self) -> str:
        return f"{self.turn:016d} {self.verb} {self.name}"

    @property
    def host(self) -> str:
        """The name of the machine on which it was written; empty where the ticket does not say."""
        return printable(str(self.author.get("host", ""))[:100])


class JobQueue:
    """The queue of a results folder, as both Blender and the engine see it; every method raises OSError."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.folder = results / ENGINE_FOLDER
        self.tickets_folder = self.folder / "queue"
        self.engine_folder = self.folder / "engines" / machine.here().key
        self.samples_folder = self.engine_folder / "looks"
        self.status_file = self.engine_folder / "status.json"
        self.log_file = self.engine_folder / "log.txt"
        self.hold_flag = self.engine_folder / "hold"
        self.leave_flag = self.engine_folder / "leave"
        self._forget()

    @property
    def is_held(self) -> bool:
        return self.hold_flag.exists()

    def make_folders(self) -> None:
        """Make the folders that a job needs in order to wait."""
        make_folder_with_parents(self.results)
        for folder in (self.folder, self.tickets_folder, self.engine_folder.parent, self.engine_folder):
            make_folder_of_ours(folder)

    def job_folder(self, ticket: Ticket) -> JobFolder:
        """The folder of the ticket's job."""
        return JobFolder((self.samples_folder if ticket.verb == SAMPLE else self.results) / ticket.name)

    def add(self, name: str, verb: str = RUN, *, first: bool = False) -> None:
        """Put a job into the queue, after all others or before them; one that waits already gets a new turn."""
        for _ in self.add_all([name], verb, first=first):
            pass

    def add_all(self, names: Sequence[str], verb: str = RUN, *, first: bool = False) -> Iterator[str]:
        """As `add`, for many in this order, reading the queue once; yields each name as soon as its job waits."""
        self.make_folders()
        waiting = self.waiting()
        turn = time.time_ns() // 1000
        if first and waiting:
            turn = waiting[0].turn - len(names)
        elif waiting:
            turn = max(turn, waiting[-1].turn + 1)
        turn = max(0, min(turn, _LAST_TURN - len(names)))  # whatever turns somebody else's tickets have
        for place, name in enumerate(names):
            self._replace([ticket for ticket in waiting if ticket.name == name], Ticket(turn + place, verb, name))
            yield name

    def waiting(self) -> list[Ticket]:
        """All tickets, the next one first; empty where there is no queue yet. Each is opened only once."""
        names = self._file_names()
        if names != self._names:
            self._names = names
            opened: dict[str, Ticket] = {}
            try:
                for ticket in _in_order(names):
                    known = self._opened.get(ticket.file_name) or self._open(ticket)
                    if known is not None:
                        opened[ticket.file_name] = known
            except OSError:
                self._names = None
                raise
            is_sure = self._names is not None
            self._opened = {name: ticket for name, ticket in opened.items() if ticket.is_ours or is_sure}
            self._in_order = list(opened.values())
        return list(self._in_order)

    def next_of_ours(self) -> Ticket | None:
        """The first ticket that an engine of ours may take, opened again now; None without such a ticket."""
        for ticket in self.waiting():
            again = self._open(ticket) if ticket.is_ours else None
            if again is not None and again.is_ours:
                return again
            if ticket.is_ours:
                self._forget()
        return None

    def remove(self, name: str) -> bool:
        """Take a job out of the queue; False where it did not wait."""
        return bool(list(self.remove_all({name})))

    def remove_all(self, names: Container[str]) -> Iterator[str]:
        """Take these jobs out of the queue; yields each that did wait, the next one first, as soon as it is out."""
        for ticket in self.waiting():
            if ticket.name in names and self.tear_up(ticket):
                yield ticket.name

    def move(self, name: str, by: int) -> None:
        """Swap the turns of a waiting job and the next one (`by` = 1) or the one before (−1), where there is one."""
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

    def take(self, announce: Callable[[Ticket], None] = lambda ticket: None) -> Ticket | None:
        """Take the next job of ours out of the queue; None where none waits, or a flag tells the engine to exit.

        The job's status is written before its ticket is deleted, so that the job never seems abandoned.

        Args:
            announce: called in between, to add the job to the engine's status.
        """
        ticket = self.next_of_ours()
        if ticket is None or self.is_held or self.leave_flag.exists():
            return None
        folder = self.job_folder(ticket)
        status = folder.status()
        if status is None or processes.runs(status) is False:  # any other is `worker.run`'s to judge
            with suppress(*_OF_ONE_JOB):  # so is a folder that was deleted, or that nobody may write to
                folder.beat(time.time())
        announce(ticket)
        if self.tear_up(ticket):
            with suppress(OSError):  # another ticket of it is that of a process that was killed in `_replace`
                self._tear_up_all(self.waiting(), {ticket.name})
            return ticket
        folder.leave()
        return None

    def tear_up(self, ticket: Ticket) -> bool:
        """Delete a ticket; False where another process has deleted it first."""
        try:
            remove_file(self.tickets_folder / ticket.file_name)
        except FileNotFoundError:
            return False
        return True

    def hold(self) -> None:
        """Let our engine take no more jobs, and exit as soon as none is running."""
        self.make_folders()
        touch(self.hold_flag)

    def release(self) -> None:
        """Undo `hold`; an engine that was told to exit does so all the same."""
        self.hold_flag.unlink(missing_ok=True)

    def dismiss_earlier_version(self) -> None:
        """Let an engine of version 0.1, which takes every ticket, exit when no job is running."""
        pid = (read_json_object(self.folder / "status.json") or {}).get("pid")
        if isinstance(pid, int) and 0 < pid < 2**31 and processes.is_alive(pid):
            touch(self.folder / "leave")

    def beat(
        self,
        started: float,
        jobs: Sequence[str],
        model: str,
        engine: Mapping[str, Any] | None = None,
        capacity: int = 1,
        *,
        waits: bool = False,
    ) -> None:
        """Say in `status.json` that this process serves the queue.

        Args:
            started: since when, as a Unix time in seconds.
            jobs: the names of those that it works on, the oldest first.
            model: the one that it keeps loaded.
            engine: its identity (`identity.Identity.to_json`).
            capacity: how many jobs it does at once.
            waits: whether another engine of this computer has to finish its job before this one takes the next.
        """
        status = {
            **processes.ourselves(),
            "started": started,
            "heartbeat": time.time(),
            "job": jobs[0] if jobs else "",  # for Blenders with an earlier version
            "jobs": list(jobs),
            "capacity": capacity,
            "model": model,
            "engine": dict(engine or {}),
            "waits": waits,
        }
        write_atomically(self.status_file, json.dumps(status))

    def status(self) -> dict[str, Any] | None:
        """The last status of our engine that serves this queue; None where none serves it, or it has died."""
        status = read_json_object(self.status_file)
        if status is None or not processes.runs(status):
            return None
        capacity = status.get("capacity")
        return status | {
            "jobs": jobs_of(status),
            "model": status["model"] if isinstance(status.get("model"), str) else "",
            "capacity": capacity
            if isinstance(capacity, int) and not isinstance(capacity, bool) and capacity > 0
            else 1,
        }

    def said_by(self, key: str) -> dict[str, Any] | None:
        """The last status of the engine of a `machine.Place.key`, alive or dead; None where it wrote none."""
        return read_json_object(self.folder / "engines" / key / "status.json")

    def _forget(self) -> None:
        """Open every ticket again when the queue is read next."""
        self._names: list[str] | None = None
        self._opened: dict[str, Ticket] = {}
        self._in_order: list[Ticket] = []

    def _file_names(self) -> list[str]:
        for folder in (self.folder, self.tickets_folder, self.engine_folder.parent, self.engine_folder):
            refuse_link(folder)
        try:
            return names_in(self.tickets_folder)
        except FileNotFoundError:
            return []

    def _tear_up_all(self, waiting: Iterable[Ticket], names: Container[str]) -> list[str]:
        return [ticket.name for ticket in waiting if ticket.name in names and self.tear_up(ticket)]

    def _replace(self, old: Sequence[Ticket], new: Ticket) -> None:
        """Let a job wait with another ticket: on a full disk it keeps the ones that it has."""
        self._write(new)
        others = [ticket for ticket in old if ticket.file_name != new.file_name]
        waits = not others
        try:
            waits = waits or bool(self._tear_up_all(others, {new.name}))
        finally:
            if not waits:  # an engine has just taken it, or Windows keeps the old ticket, which somebody reads
                self.tear_up(new)

    def _write(self, ticket: Ticket) -> None:
        """Write a ticket's file, atomically, since a reader reads it only once."""
        place, *_ = self._places
        sealed = {"author": processes.ourselves(), "seal": machine.seal(*self._sealed_parts(ticket), place)}
        write_atomically(self.tickets_folder / ticket.file_name, json.dumps(sealed))

    def _open(self, ticket: Ticket) -> Ticket | None:
        """The ticket with the content of its file, not ours where that is damaged; None where the file is missing."""
        unknown = Ticket(ticket.turn, ticket.verb, ticket.name)  # whatever it was when it was read before
        try:
            found = parse_json(read_text(self.tickets_folder / ticket.file_name, _LONGEST_TICKET))
            author, seal = found["author"], found["seal"]
            parts = self._sealed_parts(ticket)
            is_ours = any(machine.is_sealed(seal, *parts, place) for place in self._places)
        except FileNotFoundError:
            return None
        except PermissionError:  # somebody else's, or, on Windows, in use just now
            self._names = None
            return unknown
        except (UnsafeFileError, ValueError, KeyError, TypeError):
            return unknown
        return dataclasses.replace(ticket, is_ours=is_ours, author=author if isinstance(author, dict) else {})

    @cached_property
    def _places(self) -> tuple[str, ...]:
        """Where the results folder is, without links, and then as it is called.

        An engine is called with the former as its Blender sees it; in a file system of its own it may see another.
        """
        return tuple(os.path.normcase(place(self.results)) for place in (os.path.realpath, os.path.abspath))

    def _sealed_parts(self, ticket: Ticket) -> tuple[str, ...]:
        """What the seal vouches for, besides the place: not the turn, which may change."""
        try:
            request = hashlib.sha256(read_bytes(self.job_folder(ticket).request_file)).hexdigest()
        except _OF_ONE_JOB:  # it was deleted, it may not be read, or its drive is away: opened again next time
            request = ""
            self._names = None
        return ("ticket", ticket.verb, ticket.name, request)


def jobs_of(status: Mapping[str, Any]) -> list[str]:
    """The names of the jobs that an engine says it works on; one of an earlier version works on one."""
    jobs = status.get("jobs", [status.get("job")])
    return [name for name in jobs if isinstance(name, str) and name] if isinstance(jobs, list) else []


def _in_order(names: Iterable[str]) -> list[Ticket]:
    matches = filter(None, map(_TICKET.fullmatch, names))
    return sorted(Ticket(int(match[1]), match[2], match[3]) for match in matches if is_plain_name(match[3]))
