"""Reports how much of a model has been read, and how long the rest of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..contract.events import Event, Progress
from ..diffusion.read_share import told
from .attention import LISTEN_SECONDS

LEAST_SECONDS = 2.0
"""What the rest takes is said once so much time shows how fast the disk is."""


@contextmanager
def read_progress(
    phase: str, report: Callable[[Event], None], clock: Callable[[], float] = time.perf_counter
) -> Iterator[None]:
    """Report a phase's progress by the weights that are read in this block, now and then.

    An error that `report` raises, such as that the job was cancelled, comes out of the block as it is, whatever the
    libraries that it passes through make of it.
    """
    began = last = clock()
    raised: Exception | None = None

    def tell(share: float) -> None:
        nonlocal last, raised
        now = clock()
        if now - last < LISTEN_SECONDS:
            return
        last = now
        rest = (now - began) / share * (1.0 - share) if now - began >= LEAST_SECONDS else None
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
