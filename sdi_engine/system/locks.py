"""A lock between processes of one person on one machine; the operating system opens it when its holder dies.

Standard library only. The files lie in the person's own folder, where nobody else can take them first or put links.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ..errors import StorageError
from .machine import FOLDER_VARIABLE, here, own_folder

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What the operating system says where another process has the lock."""


class ProcessLock:
    """One of many processes holds it at a time; which lock it is follows from `subject`."""

    def __init__(self, subject: str) -> None:
        place = here().key  # a home folder may be shared by machines, whose locks are none of each other's business
        self._name = hashlib.sha256(f"{place}\n{subject}".encode("utf-8", "surrogatepass")).hexdigest()[:24] + ".lock"
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False where another process has it.

        Raises:
            StorageError: there can be no lock at all.
        """
        reasons = []
        for place in _PLACES:
            try:
                folder = place()
                self._file = _locked(folder / self._name)
            except OSError as error:  # a network drive without locks, say, or a home that cannot be written
                reasons.append(f"{error.strerror or error}")
                continue
            return self._file is not None
        raise StorageError(
            f"No lock file can be made on this computer ({'; '.join(reasons)}): let the environment variable "
            f"{FOLDER_VARIABLE} name a folder of your own on a local disk."
        )

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> ProcessLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _locked(path: Path) -> int | None:
    """The descriptor of a file that we have locked, None where another process has; raises OSError."""
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
    return file


def _in_own_folder() -> Path:
    folder = own_folder() / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _in_temporary_folder() -> Path:
    """A folder of the person's in the machine's own one for temporary files; raises OSError where somebody took it."""
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
"""The first is for all but machines that cannot lock files there."""
