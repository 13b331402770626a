"""Writes a run's checkpoints beside its loop: a snapshot is taken between two steps, and written while it goes on."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from ..system.files import InUseError
from . import checkpoint
from .optimisation import Optimisation

SECONDS_APART = 15.0
WRITING_SHARE = 0.02
"""Writing takes no more than this share of the time; so on a slow drive checkpoints get further apart."""

BYTES_PER_SECOND = 2.5e6
"""No more than this is written on average, which is 9 GB an hour: the largest fields (150 MB) come to one a minute."""

log = logging.getLogger(__name__)


def seconds_apart(size: int, seconds: float) -> float:
    """How far checkpoints of `size` bytes that took `seconds` to write are apart at least."""
    return max(SECONDS_APART, size / BYTES_PER_SECOND, seconds / WRITING_SHARE)


class CheckpointWriter:
    """Where a run's checkpoints are written, and when the next one is due; a context manager that ends with no thread.

    That one could not be written is told by the next call: each raises OSError. Where Windows keeps the last one as it
    is, since another program reads it, such as one that copies files to a cloud, the next one shall take its place.

    Attributes:
        was_left_out: whether that is what became of the one that was written last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.was_left_out = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[float] | None = None
        self._last = time.perf_counter()
        self._apart = seconds_apart(0, 0.0)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def save_if_due(self, run: Optimisation) -> None:
        """Begin to write a checkpoint, if the last one is on the disk and was begun long enough ago."""
        if self._writing is not None:
            if not self._writing.done():
                return
            self._finish()
        if time.perf_counter() - self._last >= self._apart:
            self.begin(run)

    def save(self, run: Optimisation) -> None:
        """Write a checkpoint of this very state; it is on the disk when this returns."""
        self.begin(run)
        self._finish()

    @property
    def is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def begin(self, run: Optimisation) -> None:
        """Begin to write a checkpoint of this very state."""
        self._finish()
        self._last = time.perf_counter()
        self._writing = self._pool.submit(self._write, checkpoint.snapshot(run))

    def _finish(self) -> None:
        """Wait for what is being written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            self._apart = writing.result()

    def _write(self, snapshot: checkpoint.Snapshot) -> float:
        """How far the next one is to be from this one, in seconds."""
        start = time.perf_counter()
        try:
            checkpoint.write(snapshot, self._path)
            self.was_left_out = False
        except InUseError as error:
            log.warning("A checkpoint is left out: %s", error)
            self.was_left_out = True
        return seconds_apart(sum(tensor.nbytes for tensor in snapshot.values()), time.perf_counter() - start)
