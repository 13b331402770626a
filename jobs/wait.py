"""Waits for jobs in a loop, where Blender's timers do not run: in the background and in scripts."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.errors import StorageError
from ..sdi_engine.system.liveness import Stopwatch
from .job import Job
from .runner import FindEngine, Runner

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
"""How long to wait for a drive to come back."""


def wait_for(runner: Runner, job: Job, find_engine: FindEngine, on_change: Callable[[Job], None]) -> None:
    """Poll until the job is over; Ctrl+C or SIGTERM cancels it, and the wait continues until it has ended.

    Raises:
        StorageError: from `Poller.poll`.
    """
    poller = Poller(runner, find_engine)
    with on_stop_signals(lambda: runner.cancel(job)):
        while not job.is_over:
            for changed in poller.poll([job]):
                on_change(changed)


class Poller:
    """Polls a runner's jobs at intervals."""

    def __init__(self, runner: Runner, find_engine: FindEngine) -> None:
        self._runner = runner
        self._find_engine = find_engine
        self._away = Stopwatch()

    def poll(self, jobs: Sequence[Job]) -> list[Job]:
        """Poll once, then sleep for `POLL_SECONDS`; returns those of `jobs` that have changed.

        If no engine can be started, the jobs fail.

        Raises:
            StorageError: the results folder cannot be read, and its drive has not come back for `PATIENCE_SECONDS`.
        """
        try:
            with storage_errors(self._runner.results):
                changed = self._runner.poll(self._find_engine)
            self._away.restart()
        except StorageError:
            if self._away.look() > PATIENCE_SECONDS:
                raise
            changed = []
        if self._runner.trouble:
            for job in [job for job in jobs if not job.is_over]:
                self._runner.give_up(job)
                changed.append(job)
        time.sleep(POLL_SECONDS)
        return [job for job in jobs if job in changed]


@contextmanager
def on_stop_signals(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` on SIGINT (Ctrl+C) and SIGTERM, instead of what Python or Blender would do.

    In the background Blender has signal handlers of its own, written in C, which Python can neither read nor restore.
    So after this block these signals end the process, as Blender does at the second Ctrl+C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        action()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
