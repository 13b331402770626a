"""Whether a process that we cannot ask the system about still lives: by what changes while we watch, by our clock only.

Standard library only. The times in a file are another machine's, whose clock may be late or jump; and while this
computer sleeps, nobody watches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

STALE_SECONDS = 30.0
"""A process of which nothing has changed while we watched for so long is taken for dead."""

LONGEST_LOOK_SECONDS = 3.0
"""The time between two looks counts as at most this much: perhaps the computer slept, or the program was busy."""

Clock = Callable[[], float]


class Stopwatch:
    """Seconds for which somebody has watched, which the caller shows by looking again and again."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._last = self._clock()
        self._seconds = 0.0

    def look(self) -> float:
        """Seconds watched since the start, up to this look."""
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
        said = repr(sign)  # NaN differs from itself
        if said != self._sign:
            self._sign = said
            self._watch.restart()
            return True
        return self._watch.look() < STALE_SECONDS


_pulses: dict[Path, Pulse] = {}
_pulses_are_mine = threading.Lock()


def beats(folder: Path, sign: object, clock: Clock = time.monotonic) -> bool:
    """`Pulse.beats` of the process that works in a folder; all callers in this process share one `Pulse` per folder."""
    with _pulses_are_mine:
        return _pulses.setdefault(folder, Pulse(clock)).beats(sign)
