"""What the command line prints for others to read: tables and JSON, into a terminal, a file or another program."""

from __future__ import annotations

import errno
import sys
from typing import TextIO

from ..system.streams import to_nowhere

_READER_LEFT = (errno.EPIPE, errno.EINVAL)
"""What a pipe answers whose reader has left; the latter on Windows (https://github.com/python/cpython/issues/79935)."""


class OutputError(Exception):
    """What should be printed cannot be; `str(error)` is one sentence. No more can be printed."""


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a text, at once; where its reader has left, as `head` does, nothing more is printed.

    Args:
        stream: standard output by default.

    Raises:
        OutputError: it cannot be written: it goes into a file, say, whose disk is full.
    """
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        to_nowhere(stream)
        if error.errno not in _READER_LEFT:
            raise OutputError(
                f"What this command says cannot be written ({error.strerror or error}): free some space, or send it "
                "elsewhere."
            ) from error
