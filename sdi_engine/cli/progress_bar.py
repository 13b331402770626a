"""How far a command is, on a terminal or in a log."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from ..contract import events

LOG_SECONDS = 10.0
"""Lines of a log are at least so far apart."""

log = logging.getLogger(__name__)


class ProgressBar:
    """Shows progress on a terminal; into a log file it writes a line now and then."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._phase = ""
        self._last_line = time.monotonic()
        self.error = ""

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Notice):
            log.info("%s", event.message)
        elif isinstance(event, events.Failed):
            self.error = event.message
        elif isinstance(event, events.Progress) and sys.stderr.isatty():
            self._show(event)
        elif isinstance(event, events.Progress) and time.monotonic() - self._last_line > LOG_SECONDS and event.rate:
            self._last_line = time.monotonic()
            text = "%s: %d of %d, %.2f steps/s, %.0f s left"
            log.info(text, event.phase, event.step, event.steps, event.rate, event.eta)

    def _show(self, event: events.Progress) -> None:
        from tqdm import tqdm

        if event.phase != self._phase:
            self.close()
            self._phase = event.phase
        if event.steps > 1:
            self._bar = self._bar or tqdm(total=event.steps, initial=event.step, desc=event.phase, unit="step")
            self._bar.update(event.step - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
