"""The folder in which one job lives: the only thing that Blender and the engine share. Standard library only.

request.json    what was asked for
events.jsonl    what happened, append-only (`sdi_engine.events`)
worker.log      everything the worker printed
status.json     {"pid": …, "started": …, "heartbeat": …}: Unix times in seconds
cancel, finish  flag files: stop now / take the current state
pause           flag file: stop now, to go on later
live            flag file: somebody wants to see live.npz
checkpoint/     what `resume` starts from
preview.png     the current state; previews/ keeps some
turntable/      the current state from all sides, side-0.png at the front and on towards +X
live.npz        a light mesh of the current state: vertices (V, 3) float32 in metres as they stand in Blender (Z up, the
                front towards -Y, the base's centre at the origin), faces (F, 3) int32, colours (V, 3) uint8, sRGB
mesh.glb        the object
result.json     written last, atomically: a job with a result is done
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import events
from .errors import BadInputError, StorageError
from .request import JobRequest

HEARTBEAT_SECONDS = 2.0
STALE_HEARTBEAT_SECONDS = 30.0
"""A worker of which nothing was heard for so long, and whose process is not ours to ask, is taken for dead."""


class JobFolder:
    """Paths of a job folder, and the few ways in which it is read and written."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.request_file = self.path / "request.json"
        self.events_file = self.path / "events.jsonl"
        self.log_file = self.path / "worker.log"
        self.status_file = self.path / "status.json"
        self.cancel_flag = self.path / "cancel"
        self.finish_flag = self.path / "finish"
        self.pause_flag = self.path / "pause"
        self.live_flag = self.path / "live"
        self.live_file = self.path / "live.npz"
        self.checkpoint_folder = self.path / "checkpoint"
        self.preview_file = self.path / "preview.png"
        self.turntable_folder = self.path / "turntable"
        self.previews_folder = self.path / "previews"
        self.mesh_file = self.path / "mesh.glb"
        self.result_file = self.path / "result.json"

    @classmethod
    def create(cls, path: Path | str, request: JobRequest) -> JobFolder:
        """Make a new job folder, with its parents, holding the validated request.

        Raises:
            BadInputError: the request is not valid, the folder cannot be made or written, or it is not empty.
            StorageError: the disk is full.
        """
        request = request.validated()
        folder = cls(path)
        make_folder(folder.path)
        with storage_errors(folder.path):
            write_atomically(folder.request_file, request.to_json())
            folder.append(events.StateChanged(events.QUEUED))
        return folder

    @classmethod
    def open(cls, path: Path | str) -> JobFolder:
        """An existing job folder.

        Raises:
            BadInputError: there is no job in this folder.
        """
        folder = cls(path)
        if not folder.request_file.is_file():
            raise BadInputError(
                f'"{folder.path}" is not a job folder: it has no request.json; give a folder made by us.'
            )
        return folder

    def request(self) -> JobRequest:
        """The request, validated again (`BadInputError` where it is damaged)."""
        with storage_errors(self.path):
            return JobRequest.from_json(self.request_file.read_text(encoding="utf-8", errors="replace"))

    def append(self, event: events.Event) -> None:
        """Add an event to `events.jsonl`; a line that a killed process left half-written is ended first."""
        with self.events_file.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(events.to_line(event).encode("utf-8"))

    def beat(self, started: float) -> None:
        """Say in `status.json` that this process is alive; `started` is a Unix time in seconds."""
        status = {"pid": os.getpid(), "started": started, "heartbeat": time.time()}
        write_atomically(self.status_file, json.dumps(status))

    def status(self) -> dict[str, Any] | None:
        """What `beat` wrote last, or None."""
        return read_json_object(self.status_file)

    def result(self) -> dict[str, Any] | None:
        """What the finished job says of its mesh, or None while it is not done."""
        return read_json_object(self.result_file)


def make_folder(path: Path, ours: str | None = None) -> None:
    """Make a folder for results, with its parents; it may be there already if it is empty, or holds `ours`.

    Raises:
        BadInputError: it cannot be made or read, or something else is in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise BadInputError(_cannot_be_used(path, error)) from error
    if names and ours not in names:
        raise BadInputError(f'The folder "{path}" is not empty: choose a new folder.')


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file such that a reader sees the old or the new content, never a part; raises OSError."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(source: Path, target: Path) -> None:
    """`Path.replace`, tried again for a second: on Windows a reader or a virus scanner may hold the target open."""
    for attempt in range(20):
        try:
            source.replace(target)
            return
        except PermissionError:
            if attempt == 19:
                raise
            time.sleep(0.05)


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals in this block into a `StorageError` that names the cure."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f'The disk of "{folder}" is full: free some space, then resume the job.') from error
        raise StorageError(_cannot_be_used(folder, error)) from error


def _cannot_be_used(folder: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f'The folder "{folder}" cannot be used ({reason}): choose a results folder that you may write to.'


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none, or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return dict(value) if isinstance(value, Mapping) else None
