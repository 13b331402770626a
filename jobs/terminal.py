"""A job's progress in a terminal: a progress bar, or, if the output is a file, a line now and then."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from ..sdi_engine.system.untrusted import printable
from . import words
from .job import Job

BAR_WIDTH = 24
SECONDS_BETWEEN_LINES = 5.0


class ProgressDisplay:
    """Prints a job's new notices and progress; call it after every change, and `close` at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._moves = self._stream.isatty()
        self._phase = ""
        self._shown = ""
        self._line_length = 0
        self._printed_at = float("-inf")
        self._notices = 0

    def __call__(self, job: Job) -> None:
        for notice in job.notices[self._notices :]:
            self._print_line(notice)
        self._notices = len(job.notices)
        progress = job.progress
        if progress is None:
            return
        new_phase = progress.phase != self._phase
        done = progress.step >= progress.steps
        now = time.monotonic()
        if new_phase and self._moves:
            self.close()
        if self._moves or new_phase or done or now - self._printed_at >= SECONDS_BETWEEN_LINES:
            filled = round(BAR_WIDTH * words.fraction(progress))
            bar = "#" * filled + "-" * (BAR_WIDTH - filled)
            text = f"{progress.phase:<20} [{bar}] {words.steps(progress)}"
            if text != self._shown:
                self._show(text)
            self._shown = text
            self._printed_at = now
        self._phase = progress.phase

    def close(self) -> None:
        """End the bar's line."""
        if self._line_length:
            self._stream.write("\n")
            self._stream.flush()
        self._line_length = 0

    def _show(self, text: str) -> None:
        if not self._moves:
            self._print_line(text)
            return
        text = _shown(text, self._stream)[: shutil.get_terminal_size().columns - 1]
        self._stream.write("\r" + text.ljust(self._line_length))
        self._stream.flush()
        self._line_length = len(text)

    def _print_line(self, text: str) -> None:
        self.close()
        self._stream.write(_shown(text, self._stream) + "\n")
        self._stream.flush()


def _shown(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "ascii"
    return printable(text).encode(encoding, errors="replace").decode(encoding)
