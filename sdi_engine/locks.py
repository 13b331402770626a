"""A lock between processes of one person on one machine; the operating system opens it when its holder dies.

Standard library only. The files lie in the machine's own folder for temporary ones: network drives know no good locks.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO


class ProcessLock:
    """One of many processes holds it at a time; which lock it is follows from `subject`."""

    def __init__(self, subject: str) -> None:
        person = os.getuid() if hasattr(os, "getuid") else ""  # elsewhere each has a temporary folder of his own
        digest = hashlib.sha256(f"{person}\n{subject}".encode()).hexdigest()[:16]
        self._file: BinaryIO | None = None
        self._path = Path(tempfile.gettempdir()) / f"sdi-engine-{digest}.lock"

    def acquire(self) -> bool:
        """Take the lock; False where another process has it. Raises OSError where there can be no lock at all."""
        file = self._path.open("a+b")
        try:
            if sys.platform == "win32":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> ProcessLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
