"""Tells the weights that a run was begun with from others, without reading gigabytes. Standard library only.

Models of one architecture have files of one size with one header, and a file's time is another one after it was copied
to a second machine. So each file is sampled, evenly over all that it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..system.files import state_of

SAMPLES = 64
SAMPLE_BYTES = 2**14
"""What is read of a file: so many pieces of so many bytes, or all of a file that has no more."""


@dataclass(frozen=True)
class Source:
    """Where a part of a model came from.

    Attributes:
        path: the file or folder, as it is named to a person.
        files: that were read of it.
        digest: of what they hold, wherever they are and whatever they are called; 32 bytes.
        states: of the files before they were looked at (`state_of`).
    """

    path: Path
    files: tuple[Path, ...]
    digest: bytes
    states: tuple[tuple[int, int] | None, ...]

    @property
    def has_changed(self) -> bool:
        """Whether a file is another one by now."""
        return tuple(map(state_of, self.files)) != self.states


def source(path: Path, files: Iterable[Path]) -> Source:
    """What is read of a path at this moment; raises OSError."""
    read = tuple(files)
    states = tuple(map(state_of, read))
    return Source(path, read, hashlib.sha256(b"".join(sorted(map(_sampled, read)))).digest(), states)


def _sampled(file: Path) -> bytes:
    """A digest of a file's size and samples."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        digest = hashlib.sha256(str(size).encode())
        for start in _starts(size):
            stream.seek(start)
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.digest()


def _starts(size: int) -> list[int]:
    """Where the samples of a file of `size` bytes begin: the first at its beginning, the last as near to its end."""
    count = min(SAMPLES, -(-size // SAMPLE_BYTES))
    last = max(size - SAMPLE_BYTES, 0)
    return [last * number // max(count - 1, 1) for number in range(count)]
