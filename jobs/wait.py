"""Wait for a job where nothing else has to happen meanwhile: in the background, in scripts."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.errors import StorageError
from ..sdi_engine.system.liveness import Stopwatch
from .job import Job
from .runner import FindEngine, Runner

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
"""With a drive that is away."""


def wait_for(runner: Runner, job: Job, find_engine: FindEngine, on_change: Callable[[Job], None]) -> None:
    """Poll until the job is over; Ctrl+C, or a request to end, cancels it, and the wait goes on until it is.

    A job for which no engine can be started has failed.

    Raises:
        StorageError: the results folder cannot be read, and its drive has not come back for `PATIENCE_SECONDS`.
    """
    away = Stopwatch()
    with _on_stop_signals(lambda: runner.cancel(job)):
        while not job.is_over:
            try:
                with storage_errors(runner.results):
                    changed = runner.poll(find_engine)
                away.restart()
            except StorageError:
                if away.look() > PATIENCE_SECONDS:
                    raise
                changed = []
            if job in changed:
                on_change(job)
            if runner.trouble and not job.is_over:
                runner.give_up(job)
                on_change(job)
            time.sleep(POLL_SECONDS)


@contextmanager
def _on_stop_signals(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` on SIGINT (Ctrl+C) and SIGTERM, instead of what Python or Blender would do.

    Blender in the background has handlers of its own, written in C: Python can neither hear of them nor put them back,
    so after this block these signals end the process, which is what Blender does at the second Ctrl+C.
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
