"""The standard streams of a program that was started without some of them, and of one whose reader has left.

Standard library only, and readable for Python 3.8.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

_NAMES = ("stdin", "stdout", "stderr")


def open_streams() -> None:
    """Let the standard streams that this process lacks lead nowhere, as those of a service or after `2>&-`.

    Otherwise Python has None in their place, which libraries do not expect, and the next files that are opened get
    their numbers, so that what native code prints goes into these files. For a program's first lines.
    """
    number = os.open(os.devnull, os.O_RDWR)
    while number < len(_NAMES):  # the lowest free number is always taken
        os.set_inheritable(number, True)  # as the standard streams are
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    for name in _NAMES:
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)  # or its buffer would be closed when a wrapper takes its place


def to_nowhere(stream: TextIO) -> None:
    """Drop what a stream that cannot be written still holds, which Python would try to write at its end, and all else
    that is written to it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
