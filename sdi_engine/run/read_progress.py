"""Reports how much of a model has been read, and how long the rest of it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..contract.events import Event, Progress
from ..diffusion.read_share import told
from .attention import LISTEN_SECONDS

LEAST_SECONDS = 2.0
"""What the rest takes is said once so much time since the first weights shows how fast the disk is."""


@contextmanager
def read_progress(
    phase: str, report: Callable[[Event], None], clock: Callable[[], float] = time.perf_counter
) -> Iterator[None]:
    """Report a phase's progress by the weights that are read in this block, now and then.

    An error that `report` raises, such as that the job was cancelled, comes out of the block as it is, whatever the
    libraries that it passes through make of it.
    """
    last = clock()
    began, first = math.inf, math.inf  # libraries are imported before the first weights, which takes seconds
    raised: Exception | None = None

    def tell(share: float) -> None:
        nonlocal last, began, first, raised
        now = clock()
        if share < first:
            began, first = now, share
        if now - last < LISTEN_SECONDS:
            return
        last = now
        seconds, read = now - began, share - first
        rest = seconds / read * (1.0 - share) if seconds >= LEAST_SECONDS and read > 0.0 else None
        try:
            report(Progress(phase, 0, 1, eta=rest, within=share))
        except Exception as error:
            raised = error
            raise

    try:
        with told(tell):
            yield
    except Exception as error:
        if raised is not None:
            raise raised from error
        raise
