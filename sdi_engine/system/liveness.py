"""Whether somebody whom we cannot ask still lives: by what changes while we look, measured by our own clock alone.

Standard library only. The time in a file is another clock's, which may be late, or step; and while this computer
sleeps, nobody looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

STALE_SECONDS = 30.0
"""Of whom nothing changed while we looked for so long is taken for gone."""

LONGEST_LOOK_SECONDS = 3.0
"""What lies between two looks counts for no more: perhaps the computer slept, or the program was busy."""

Clock = Callable[[], float]


class Stopwatch:
    """Seconds for which somebody has looked, in many looks."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """From now on."""
        self._last = self._clock()
        self._seconds = 0.0

    def look(self) -> float:
        """Seconds looked for since the start, this look included."""
        now = self._clock()
        self._seconds += min(max(now - self._last, 0.0), LONGEST_LOOK_SECONDS)
        self._last = now
        return self._seconds


class Pulse:
    """What one observer has seen of another process."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._watch = Stopwatch(clock)
        self._sign = ""

    def beats(self, sign: object) -> bool:
        """Whether `sign`, which changes while the process lives, has changed lately; True until that is known."""
        said = repr(sign)  # a number that is none differs from itself
        if said != self._sign:
            self._sign = said
            self._watch.restart()
            return True
        return self._watch.look() < STALE_SECONDS


_pulses: dict[Path, Pulse] = {}
_pulses_are_mine = threading.Lock()


def beats(folder: Path, sign: object, clock: Clock = time.monotonic) -> bool:
    """`Pulse.beats` of who is at work in a folder; all who look in this process share what they have seen."""
    with _pulses_are_mine:
        return _pulses.setdefault(folder, Pulse(clock)).beats(sign)
