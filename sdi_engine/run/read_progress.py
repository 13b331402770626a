"""Reports how much of a model has been read, and how long the rest of it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..contract.events import Event, Progress
from ..diffusion.read_share import Count, told
from .attention import LISTEN_SECONDS

LEAST_SECONDS = 2.0
"""What the rest takes is said once so much time since the first weights shows how fast the disk is."""

DOWNLOADING = "Downloading the model"
"""The phase before a model of the hub is read."""


@contextmanager
def read_progress(
    phase: str, report: Callable[[Event], None], clock: Callable[[], float] = time.perf_counter
) -> Iterator[Count]:
    """Report a phase's progress by the weights that are read in this block, now and then, and that of their download.

    An error that `report` raises, such as that the job was cancelled, comes out of the block as it is, whatever the
    libraries that it passes through make of it.
    """
    raised: Exception | None = None

    def kept(event: Event) -> None:
        nonlocal raised
        try:
            report(event)
        except Exception as error:
            raised = error
            raise

    try:
        with told(_Teller(phase, kept, clock), _Teller(DOWNLOADING, kept, clock)) as count:
            yield count
    except Exception as error:
        if raised is not None:
            raise raised from error
        raise


class _Teller:
    """Reports the shares that it is called with as a phase's progress: not all of them, and none twice in turn."""

    def __init__(self, phase: str, report: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self._phase, self._report, self._clock = phase, report, clock
        self._last = clock()
        self._share = math.nan
        self._began = self._first = math.inf  # libraries are imported before the first weights, which takes seconds

    def __call__(self, share: float) -> None:
        now = self._clock()
        if share < self._first:
            self._began, self._first = now, share
        if share == self._share or now - self._last < LISTEN_SECONDS:
            return
        self._last, self._share = now, share
        seconds, done = now - self._began, share - self._first
        rest = seconds / done * (1.0 - share) if seconds >= LEAST_SECONDS and done > 0.0 else None
        self._report(Progress(self._phase, 0, 1, eta=rest, within=share))
