"""A lock between processes of one person on one machine; the operating system releases it when its holder dies.

Standard library only. The lock files lie in the person's own folder, where nobody else can make them or put links.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import StorageError
from . import processes
from .files import read_json_object, remove_file, write_atomically
from .machine import FOLDER_VARIABLE, here, own_folder

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""Error numbers with which the operating system refuses a lock that another process holds."""


class ProcessLock:
    """At most one process holds it at a time; a file beside it says which, for those who wait (`tell`, `holder`).

    Args:
        subject: names the lock.
        is_for_once: whether its file is removed when it is released: of thousands of jobs there would be thousands.
    """

    def __init__(self, subject: str, *, is_for_once: bool = False) -> None:
        place = here().key  # a home folder may be shared by machines, whose locks are none of each other's business
        self._name = hashlib.sha256(f"{place}\n{subject}".encode("utf-8", "surrogatepass")).hexdigest()[:24] + ".lock"
        self._file: int | None = None
        self._path: Path | None = None
        self._told: Path | None = None
        self._is_for_once = is_for_once

    def acquire(self) -> bool:
        """Take the lock; False where another process has it.

        Raises:
            StorageError: no lock file can be made.
        """
        reasons = []
        for place in _PLACES:
            try:
                self._path = place() / self._name
                self._file = _locked(self._path)
            except OSError as error:  # a network drive without locks, say, or a home that cannot be written
                reasons.append(f"{error.strerror or error}")
                continue
            return self._file is not None
        raise StorageError(
            f"No lock file can be made on this computer ({'; '.join(reasons)}): let the environment variable "
            f"{FOLDER_VARIABLE} name a folder of your own on a local disk."
        )

    def tell(self, place: str) -> None:
        """Let others know that this process holds the lock, and in which folder it works."""
        said = json.dumps({**processes.ourselves(), "place": place})
        assert self._path is not None, "who holds it has found its file"
        with suppress(OSError):  # it only makes a sentence more telling
            self._told = self._path.with_suffix(".json")
            write_atomically(self._told, said)

    def holder(self) -> Mapping[str, Any]:
        """What the process that holds the lock has told of itself (`processes.ourselves`, `place`); or nothing."""
        for folder in _PLACES:
            with suppress(OSError):
                said = read_json_object((folder() / self._name).with_suffix(".json")) or {}
                if processes.runs(said):
                    return said
        return {}

    def release(self) -> None:
        """Let another process take it; does nothing where this one does not hold it."""
        if self._file is None:
            return
        if self._told is not None:
            with suppress(OSError):
                remove_file(self._told, missing_ok=True)
            self._told = None
        if self._is_for_once and sys.platform != "win32":
            self._remove()  # while it is held, or it might be another process's by now
        os.close(self._file)
        self._file = None
        if self._is_for_once and sys.platform == "win32":
            self._remove()  # which no process has open then, or Windows keeps it

    def _remove(self) -> None:
        assert self._path is not None
        with suppress(OSError):
            self._path.unlink()

    def __enter__(self) -> ProcessLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _locked(path: Path) -> int | None:
    """The descriptor of the file that we have locked, None where another process holds it; raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if error.errno in _HELD:
            return None
        raise
    if sys.platform == "win32" or _is_still(path, file):
        return file
    os.close(file)  # its last holder has removed it since it was opened
    return _locked(path)


def _is_still(path: Path, file: int) -> bool:
    """Whether an open file has this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except OSError:
        return False


def _in_own_folder() -> Path:
    folder = own_folder() / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _in_temporary_folder() -> Path:
    """The person's folder in the one for temporary files; raises OSError where it is somebody else's."""
    if not hasattr(os, "getuid"):  # there each person has a temporary folder
        folder = Path(tempfile.gettempdir(), "sdi-engine-locks")
        folder.mkdir(exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir(), f"sdi-engine-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(errno.EPERM, f'"{folder}" is not ours alone')
    return folder


_PLACES: tuple[Callable[[], Path], ...] = (_in_own_folder, _in_temporary_folder)
"""Tried in order; the second serves machines that cannot lock files in the first."""
