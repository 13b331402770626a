"""The folder of one job, the only thing that Blender and the engine share. Standard library only.

request.json    what was asked for
events.jsonl    what happened, append-only (`events`)
worker.log      everything the worker printed
status.json     {"pid": …, "folder": …, "started": …, "heartbeat": …, …}: who is at the job (`processes.ourselves`), in
                which folder, since when, and a time that changes while it lives; Unix times in seconds, by that
                machine's clock
cancel, finish  flag files: stop now / take the current state
pause           flag file: stop now, to go on later
live            flag file: somebody wants to see live.npz
checkpoint/     what `resume` starts from
texts.safetensors  the encoded texts, so that no text encoder is needed to go on (`run.kept_texts`)
preview.png     the current state; previews/ keeps some
textures/       the object's texture as a file, which Blender writes for exports
turntable/      the current state from all sides, side-0.png at the front and on towards +X
live.npz        a light mesh of the current state: vertices (V, 3) float32 in metres as they stand in Blender (Z up, the
                front towards -Y, the base's centre at the origin; of a mesh that is textured its own place), faces
                (F, 3) int32, colours (V, 3) uint8, sRGB
source.npz      of a job about a mesh that there is: the mesh (`source_mesh`), there from the beginning
mesh.glb        the object
mesh-lod1.glb   the same with half as many triangles, mesh-lod2.glb with a quarter, …: if asked for
texture.png     of such a job: the new look, on the mesh's own UV map, or on the one in
uv.npz          uv (F, 3, 2) float32 per corner of the source's faces: the UV map that was made for it
moved.npz       vertices (V, 3) float32: where the source's vertices are now, of a job that refines the shape
result.json     written last, atomically: a job with a result is done

Nobody else's file is touched: no link in here is followed (`files`), and only files of these names are deleted.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import BadInputError, EngineError, JobCancelledError, JobPausedError, StorageError
from ..system import files, processes
from ..system.files import UnsafeFileError, read_json_object, write_atomically
from ..system.machine import NoOwnFolderError
from ..system.untrusted import printable
from . import events
from .request import JobRequest

_WINDOWS_NAME_TOO_LONG = 206
_WINDOWS_LONGEST_PATH = 259
"""Characters of a path to a file, unless Windows is told to allow longer ones: it says that there is no such file."""

_WINDOWS_IN_USE = (32, 33)
"""Another program has the file open, or a part of it locked."""

HEARTBEAT_SECONDS = 2.0

_CHECKPOINT_FILE = re.compile(r"state\.safetensors|\.state\.safetensors\.\d+\.part")
_FILES = re.compile(
    r"\.?(request\.json|status\.json|result\.json|placement\.json|live\.npz|preview\.png|mesh(-lod\d)?\.glb|source\.npz"
    r"|texture\.png|uv\.npz|moved\.npz|texts\.safetensors)(\.\d+\.part)?"
    r"|events\.jsonl|worker\.log|cancel|finish|pause|live|seed-\d+\.png|sheet\.png|\.DS_Store|Thumbs\.db|desktop\.ini"
)
_FILES_IN_FOLDERS = {
    "checkpoint": _CHECKPOINT_FILE,
    "previews": re.compile(r"\.?step-\d+\.png(\.\d+\.part)?"),
    "turntable": re.compile(r"\.?side-\d+\.png(\.\d+\.part)?"),
    "textures": re.compile(r".+\.(png|jpg|webp)(\.\d+\.part)?"),
}
"""What the engine, Blender and file managers write in a job folder; every other file is the person's own."""


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
        self.checkpoint_file = self.checkpoint_folder / "state.safetensors"
        self.texts_file = self.path / "texts.safetensors"
        self.preview_file = self.path / "preview.png"
        self.turntable_folder = self.path / "turntable"
        self.textures_folder = self.path / "textures"
        self.previews_folder = self.path / "previews"
        self.source_file = self.path / "source.npz"
        self.mesh_file = self.path / "mesh.glb"
        self.texture_file = self.path / "texture.png"
        self.uv_file = self.path / "uv.npz"
        self.moved_file = self.path / "moved.npz"
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
        folder._claim(request)
        return folder

    @classmethod
    def create_new(cls, results: Path, name: str, request: JobRequest) -> JobFolder:
        """Make a job folder of this name, or with a number after it where there is one: nobody else gets the same.

        Raises:
            BadInputError: the request is not valid, or the folder cannot be made.
            StorageError: it cannot be written.
        """
        request = request.validated()
        folder = cls(_new_folder(results, name))
        folder._claim(request)
        return folder

    @classmethod
    def open(cls, path: Path | str) -> JobFolder:
        """An existing job folder.

        Raises:
            BadInputError: there is no job in this folder.
        """
        folder = cls(path)
        if not files.is_there(folder.request_file):
            raise BadInputError(
                f'"{folder.path}" is not a job folder: it has no request.json; give a job folder of this extension.'
            )
        return folder

    def lod_file(self, level: int) -> Path:
        """The mesh of a level of detail, from 1 on."""
        return self.path / f"mesh-lod{level}.glb"

    def request(self) -> JobRequest:
        """The request, validated again.

        Raises:
            BadInputError: it is damaged, or of a later version.
            StorageError: it cannot be read.
        """
        return self.read_request()[0]

    def read_request(self) -> tuple[JobRequest, list[str]]:
        """`request`, and the names of the settings in its file that this version does not know."""
        with storage_errors(self.path):
            return JobRequest.read(files.read_text(self.request_file))

    def refuse_links(self) -> None:
        """Check that none of our names in the folder is a link, before anything is written.

        Raises:
            StorageError: one is; the sentence names it.
        """
        paths = [path for path in vars(self).values() if path != self.path]
        with storage_errors(self.path):
            for path in paths:
                files.refuse_link(path)

    def stop_if_told(self) -> None:
        """Raise JobCancelledError or JobPausedError where the folder has such a flag.

        A drive that is away has none: whoever writes to it next meets the error.
        """
        if files.is_there(self.cancel_flag):
            raise JobCancelledError("The job was cancelled.")
        if files.is_there(self.pause_flag):
            raise JobPausedError("The job was paused.")

    @property
    def is_told_to_end(self) -> bool:
        """Whether the folder has a flag that ends a run: cancel, pause or finish."""
        return any(map(files.is_there, (self.cancel_flag, self.pause_flag, self.finish_flag)))

    def append(self, event: events.Event) -> None:
        """Add an event to `events.jsonl`; a line that a killed process left half-written is ended first."""
        with files.open_to_append(self.events_file) as file:
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(events.to_line(event).encode("utf-8", errors="replace"))

    def forget_checkpoint(self) -> None:
        """Remove what `resume` would start from; raises OSError."""
        files.remove_files(self.checkpoint_folder, _CHECKPOINT_FILE)

    def remove_half_written(self) -> None:
        """Remove the temporary files that killed engines left behind; raises OSError."""
        for folder in (self.path, self.checkpoint_folder, self.previews_folder, self.turntable_folder):
            files.remove_half_written(folder)

    @contextmanager
    def completed(self) -> Iterator[None]:
        """For writing what a new job needs besides its request; raises StorageError.

        Where that fails, the folder is removed: without it the job could not be done, and would be in the way of the
        next try.
        """
        with storage_errors(self.path):
            try:
                yield
            except BaseException:
                with suppress(OSError):
                    self.remove()
                raise

    def remove(self) -> bool:
        """Remove our files, and the folder where it is empty then; whether the folder is gone. Raises OSError."""
        for name, pattern in _FILES_IN_FOLDERS.items():
            folder = self.path / name
            if files.is_link(folder):
                files.remove_link(folder)
                continue
            files.remove_files(folder, pattern)
            with suppress(OSError):  # there is none, or something of the person's own is in it
                folder.rmdir()
        files.remove_files(self.path, _FILES)
        with suppress(OSError):
            self.path.rmdir()
        return not files.is_there(self.path)

    @property
    def _place(self) -> str:
        """Where the folder is, as a text that JSON can hold: not all names of Linux are UTF-8."""
        return printable(os.path.normcase(os.path.realpath(self.path)))

    def _claim(self, request: JobRequest) -> None:
        """Write the request into the empty folder, or nothing at all; of two processes that try, one succeeds."""
        with storage_errors(self.path):
            try:
                files.create(self.events_file)
                write_atomically(self.request_file, request.to_json())
                self.append(events.StateChanged(events.QUEUED))
            except FileExistsError as error:
                raise BadInputError(_not_empty(self.path)) from error
            except OSError:
                with suppress(OSError):
                    self.remove()
                raise

    def beat(self, started: float) -> None:
        """Say in `status.json` that this process is at the job; `started` is a Unix time in seconds."""
        status = {**processes.ourselves(), "folder": self._place, "started": started, "heartbeat": time.time()}
        write_atomically(self.status_file, json.dumps(status))

    def is_where(self, status: Mapping[str, Any]) -> bool:
        """Whether a status was written in this very folder, and is no copy of one, as far as it says."""
        return status.get("folder", self._place) == self._place

    def leave(self) -> None:
        """Delete `status.json` where this process wrote it; raises OSError."""
        if processes.is_ourselves(self.status() or {}):
            files.remove_file(self.status_file, missing_ok=True)

    def status(self) -> dict[str, Any] | None:
        """What `beat` wrote last; None where there is no status, or a damaged one."""
        return read_json_object(self.status_file)

    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`; None while the job is not done."""
        return read_json_object(self.result_file)


def make_folder(path: Path, ours: str | None = None) -> None:
    """Make a folder for results, with its parents; it may be there already if it is empty, or holds `ours`.

    Raises:
        BadInputError: it cannot be made or read, or something else is in it.
        StorageError: the disk is full.
    """
    try:
        files.make_folder_with_parents(path)
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise _no_folder(path, error) from error
    if names and ours not in names:
        raise BadInputError(_not_empty(path))


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals in this block into a `StorageError` that names the cure."""
    try:
        yield
    except OSError as error:
        raise StorageError(_disk_full(folder) if is_disk_full(error) else _cannot_be_used(folder, error)) from error


def _new_folder(results: Path, name: str) -> Path:
    path = results / name
    number = 1
    try:
        files.make_folder_with_parents(results)
        while True:
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
                path = results / f"{name}-{number}"
            else:
                return path
    except OSError as error:
        raise _no_folder(path, error) from error


def why_not_read(results: Path, error: OSError) -> str:
    """One sentence on a results folder that cannot be read."""
    if isinstance(error, UnsafeFileError):
        return str(error)
    cure = "choose one with a short name." if is_name_too_long(error) else "is its drive connected?"
    return f'The results folder "{results}" cannot be read ({error.strerror or error}): {cure}'


def _no_folder(folder: Path, error: OSError) -> EngineError:
    """The error for a folder that could not be made."""
    return StorageError(_disk_full(folder)) if is_disk_full(error) else BadInputError(_cannot_be_used(folder, error))


def is_disk_full(error: OSError) -> bool:
    """Whether an error says that a disk, or a person's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _disk_full(folder: Path) -> str:
    """For a full disk; the cure is to resume only where the job already exists."""
    cure = "resume the job" if files.is_there(JobFolder(folder).request_file) else "try again"
    return f'The disk of "{folder}" is full: free some space, then {cure}.'


def _not_empty(folder: Path) -> str:
    return f'The folder "{folder}" is not empty: choose a new folder.'


def is_name_too_long(error: OSError) -> bool:
    """Whether a path, or one name in it, is longer than its disk or the system allows."""
    if error.errno == errno.ENAMETOOLONG or getattr(error, "winerror", None) == _WINDOWS_NAME_TOO_LONG:
        return True
    is_long = sys.platform == "win32" and len(str(error.filename)) > _WINDOWS_LONGEST_PATH
    return is_long and isinstance(error, FileNotFoundError) and files.is_there(Path(error.filename).parent)


def in_use(folder: Path) -> str:
    """One sentence on a folder whose files another program has open, which Windows then keeps as they are."""
    return f'A file in the folder "{folder}" is open in another program: close it, or wait a little, then try again.'


def _cannot_be_used(folder: Path, error: OSError) -> str:
    if isinstance(error, UnsafeFileError | NoOwnFolderError):
        return str(error)
    if is_name_too_long(error):
        return f'The name of the folder "{folder}" is too long for its disk: choose a results folder with a short name.'
    if isinstance(error, files.InUseError) or getattr(error, "winerror", None) in _WINDOWS_IN_USE:
        return in_use(folder)
    if isinstance(error, FileNotFoundError) and not os.path.lexists(folder):
        return f'The folder "{folder}" is gone: connect its drive, or start the job again where it was deleted.'
    reason = error.strerror or str(error)
    return f'The folder "{folder}" cannot be used ({reason}): choose a results folder that you may write to.'
