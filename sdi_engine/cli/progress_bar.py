"""How far a command is, on a terminal or in a log."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from ..contract import events

LOG_SECONDS = 10.0
"""Lines of a log are at least so far apart."""

BAR = "{desc}: {percentage:3.0f}%|{bar}| {postfix}"

log = logging.getLogger(__name__)


class ProgressBar:
    """Shows progress on a terminal; into a log file it writes a line now and then."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._phase = ""
        self._line = ""
        self._last_line = time.monotonic()
        self.error = ""

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Notice):
            log.info("%s", event.message)
        elif isinstance(event, events.Failed):
            self.error = event.message
        elif isinstance(event, events.Progress) and sys.stderr.isatty():
            self._show(event)
        elif isinstance(event, events.Progress):
            self._log(event)

    def _log(self, event: events.Progress) -> None:
        """A line now and then, once there is something new to say."""
        if time.monotonic() - self._last_line > LOG_SECONDS and (event.rate or event.within):
            line = f"{event.phase}: {how_far(event)}"
            if line != self._line:
                self._last_line, self._line = time.monotonic(), line
                log.info("%s", line)

    def _show(self, event: events.Progress) -> None:
        from tqdm import tqdm

        if event.phase != self._phase:
            self.close()
            self._phase = event.phase
        if event.steps > 1 or event.within:
            self._bar = self._bar or tqdm(total=1.0, desc=event.phase, bar_format=BAR)
            self._bar.n = event.share
            self._bar.set_postfix_str(how_far(event))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def how_far(event: events.Progress) -> str:
    """For example "12 of 300, 4.10 steps/s, 70 s left", or "41%, 70 s left" of a phase without steps.

    What is not known yet is left out.
    """
    parts = [f"{event.step} of {event.steps}" if event.steps > 1 else f"{event.share:.0%}"]
    if event.steps > 1 and event.within >= 0.01:
        parts[0] += f" and {event.within:.0%} of the next"
    if event.rate:
        parts.append(f"{event.rate:.2f} steps/s" if event.rate >= 0.1 else f"{1.0 / event.rate:.0f} s/step")
    if event.eta is not None:
        parts.append(f"{event.eta:.0f} s left")
    return ", ".join(parts)
