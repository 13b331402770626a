"""The part that runs on a cluster's nodes: does one job after another in a local folder, and keeps the model loaded.

Ray makes an actor of `Node` and a task of `examine_node`; `cluster` calls them. Only plain values are exchanged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..contract import events
from ..contract.job_folder import JobFolder
from ..contract.request import JobRequest
from ..system import files, machine, processes
from ..system.pasted import as_meant
from .cluster_files import CHECKPOINT, Packer, changed_files
from .own_process import OwnProcess
from .pool import CRASHED, Outcome

KEEP_SECONDS = 7 * 24 * 3600.0
"""Sent files are removed once no job has used them for so long."""

LOG_BYTES = 2**20
"""The most that is sent of a job's log at a time."""

log = logging.getLogger(__name__)


class Node:
    """Does jobs for a `ClusterPool`, one at a time."""

    def __init__(self) -> None:
        """Start without a model, and remove what earlier processes left behind."""
        _log_to_stderr()
        self._place = _place()
        _tidy(self._place)
        self._packer = Packer()
        self._process = OwnProcess()
        self._folder: JobFolder | None = None
        self._thread: threading.Thread | None = None
        self._events: list[str] = []
        self._outcome: Outcome | None = None

    def greet(self) -> None:
        """Answer, once the actor has started."""

    def find(self, named: str, key: str, sizes: Mapping[str, int]) -> str:
        """The path of a parcel's file or folder on this node; empty if it must be sent.

        Args:
            named: its path in the request; the same content at the same path of this node is used.
            key: `cluster_files.Parcel.key`.
            sizes: bytes of each of its files; a file of another size need not be read.
        """
        kept = self._place / "files" / key
        entry = next(iter(sizes)).split("/")[0]
        if kept.is_dir():
            os.utime(kept)
            return str(kept / entry)
        here = Path(as_meant(named))
        try:
            alike = all((here.parent / name).stat().st_size == size for name, size in sizes.items())
            parcel = self._packer.parcel(named) if alike else None
        except OSError:
            return ""
        return str(here) if parcel is not None and parcel.key == key else ""

    def receive(self, key: str, name: str, part: bytes, *, first: bool) -> None:
        """Append the next part to one of a parcel's files."""
        file = self._half_sent(key) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb" if first else "ab") as stream:
            stream.write(part)

    def accept(self, key: str, digests: Mapping[str, str]) -> bool:
        """Keep a parcel that has been sent completely; False if its content does not match the digests (SHA-256)."""
        sent = self._half_sent(key)
        for name, digest in digests.items():
            with (sent / name).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                    shutil.rmtree(sent)
                    return False
        kept = self._place / "files" / key
        kept.parent.mkdir(exist_ok=True)
        try:
            sent.rename(kept)
        except OSError:  # another process of this node has received the same parcel
            shutil.rmtree(sent)
        return True

    def start(self, request: str, verb: str, checkpoint: bytes | None, source: bytes | None = None) -> None:
        """Start a job, or resume one from its checkpoint; `source` is the mesh of one that textures a mesh."""
        self.leave()
        path = Path(tempfile.mkdtemp(prefix="job-", dir=_ours(self._place)))
        folder = self._folder = JobFolder.create(path / "job", JobRequest.from_json(request))
        if source is not None:
            files.write_atomically(folder.source_file, source)
        if checkpoint is not None:
            files.make_folder_of_ours(folder.checkpoint_folder)
            files.write_atomically(folder.path / CHECKPOINT, checkpoint)
        self._events, self._outcome = [], None
        self._thread = threading.Thread(target=self._do, args=(folder, verb), name="job", daemon=True)
        self._thread.start()

    def poll(
        self,
        flags: list[str],
        events_from: int,
        log_from: int,
        have: Mapping[str, tuple[int, int]],
        *,
        without_checkpoint: bool = False,
    ) -> dict[str, Any]:
        """What the job has produced since the last poll.

        Args:
            flags: names of the flag files in the job's folder.
            events_from: number of events received so far.
            log_from: number of bytes of the log received so far.
            have: as in `cluster_files.changed_files`.
            without_checkpoint: whether to leave out the checkpoint this time, since it takes long to send.

        Returns:
            `events` (lines of JSON), `log` (bytes), `files` (from `changed_files`) and `outcome` (fields of an
            `Outcome`; None while the job runs). The files are at least as new as the events.
        """
        assert self._folder is not None
        self._put(flags)
        outcome = self._outcome
        lines = self._events[events_from:]
        return {
            "events": lines,
            "log": self._printed(log_from),
            "files": changed_files(self._folder, have, [CHECKPOINT] if without_checkpoint else []),
            "outcome": dataclasses.asdict(outcome) if outcome is not None else None,
        }

    def leave(self) -> None:
        """Wait for the job to end, and delete its folder."""
        if self._thread is not None:
            self._thread.join()
        if self._folder is not None:
            shutil.rmtree(self._folder.path.parent, ignore_errors=True)
            self._folder = self._thread = None

    def _do(self, folder: JobFolder, verb: str) -> None:
        try:
            done: Future[Outcome] = self._process.submit(folder.path, verb, self._hear)
            self._outcome = done.result()
        except BaseException as error:
            log.exception("An unexpected error")
            self._outcome = Outcome(CRASHED, f"An unexpected error ended the job ({type(error).__name__}: {error}).")

    def _hear(self, event: events.Event) -> None:
        self._events.append(events.to_line(event))

    def _put(self, flags: list[str]) -> None:
        folder = self._folder
        assert folder is not None
        for flag in (folder.cancel_flag, folder.pause_flag, folder.finish_flag, folder.live_flag):
            if flag.name in flags:
                files.touch(flag)
            elif flag == folder.live_flag:  # the live mesh was switched off
                flag.unlink(missing_ok=True)

    def _printed(self, start: int) -> bytes:
        assert self._folder is not None
        try:
            with files.open_to_read(self._folder.log_file) as file:
                file.seek(start)
                return file.read(LOG_BYTES)
        except FileNotFoundError:
            return b""

    def _half_sent(self, key: str) -> Path:
        return _ours(self._place) / key


def examine_node() -> dict[str, Any]:
    """`doctor.examine` on this node."""
    from .. import doctor

    return doctor.examine()


def _place() -> Path:
    """A folder in the node's temporary folder that only this user can read and write; raises OSError."""
    place = machine.temporary_folder() / "cluster"
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def _ours(place: Path) -> Path:
    """The folder of this process."""
    folder = place / f"{os.getpid()}-{processes.start_time(os.getpid())}"
    folder.mkdir(exist_ok=True)
    return folder


def _tidy(place: Path) -> None:
    """Remove folders of processes that were killed, and files that have long not been used."""
    for folder in place.iterdir():
        pid, _, start = folder.name.partition("-")
        if pid.isdecimal() and processes.start_time(int(pid)) != start:
            shutil.rmtree(folder, ignore_errors=True)
    kept = place / "files"
    for folder in kept.iterdir() if kept.is_dir() else ():
        with suppress(OSError):  # another process of this node, which began together with this one, has removed it
            if time.time() - folder.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _log_to_stderr() -> None:
    """Make our log go to stderr, and so into the current job's log; Ray's own lines stay in Ray's logs."""
    ours = logging.getLogger(__name__.partition(".")[0])
    if not ours.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        ours.propagate = False
