"""Jobs' progress in a terminal: a line that is overwritten, or, if the output is a file, a line now and then."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from typing import TextIO

from ..sdi_engine.system.streams import to_nowhere
from ..sdi_engine.system.untrusted import printable
from . import words
from .job import Job

BAR_WIDTH = 24
SECONDS_BETWEEN_LINES = 5.0


@dataclass
class _Printed:
    """What was printed of a job."""

    label: str = ""
    phase: str = ""
    text: str = ""
    share: str = ""
    at: float = float("-inf")
    notices: int = 0


class ProgressDisplay:
    """Prints jobs' new notices and progress; call it after every change, and `close` before anything else is printed.

    A single job has a progress bar. Jobs that are made at once have labels, with which their lines begin; in a terminal
    they share one line with the percentage of each.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._moves = self._stream is not None and self._stream.isatty()
        self._printed: dict[str, _Printed] = {}
        self._line_length = 0

    def __call__(self, job: Job, label: str = "") -> None:
        printed = self._printed.setdefault(job.name, _Printed())
        printed.label = label
        for notice in job.notices[printed.notices :]:
            self._print_line(f"{label} {notice}".lstrip())
        printed.notices = len(job.notices)
        if job.progress is not None:
            self._show_progress(job, printed)
        if job.is_over:
            del self._printed[job.name]

    def close(self) -> None:
        """End the bar's line."""
        if self._line_length:
            say("", self._stream)
        self._line_length = 0

    def _show_progress(self, job: Job, printed: _Printed) -> None:
        progress = job.progress
        assert progress is not None
        new_phase = progress.phase != printed.phase
        done = progress.step >= progress.steps
        now = time.monotonic()
        if new_phase and self._moves and not printed.label:
            self.close()
        if self._moves or new_phase or done or now - printed.at >= SECONDS_BETWEEN_LINES:
            fraction = progress.share
            filled = round(BAR_WIDTH * fraction)
            bar = "#" * filled + "-" * (BAR_WIDTH - filled)
            text = f"{printed.label} {progress.phase:<20} [{bar}] {words.steps(progress)}".strip()
            printed.share = f"{printed.label} {progress.phase} {fraction:.0%}"
            if text != printed.text:
                self._show(text)
            printed.text = text
            printed.at = now
        printed.phase = progress.phase

    def _show(self, text: str) -> None:
        if not self._moves:
            self._print_line(text)
            return
        if any(each.label for each in self._printed.values()):
            text = " | ".join(each.share for each in self._printed.values() if each.share)
        text = printable(text)[: shutil.get_terminal_size().columns - 1]
        say("\r" + text.ljust(self._line_length), self._stream, end="")
        self._line_length = len(text)

    def _print_line(self, text: str) -> None:
        self.close()
        say(printable(text), self._stream)


def say(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print a text at once, with "?" for what the stream's encoding lacks.

    Where it cannot be written, nothing more is printed: nobody's objects are lost because a reader has left, as `head`
    does, or because the disk of a log is full.

    Args:
        stream: standard output by default, which Blender without a terminal may not have.
    """
    stream = sys.stdout if stream is None else stream
    if stream is None:
        return
    encoding = stream.encoding or "ascii"
    try:
        print(text.encode(encoding, errors="replace").decode(encoding), end=end, file=stream, flush=True)
    except OSError:
        to_nowhere(stream)
