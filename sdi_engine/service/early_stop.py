"""Cancel and pause are heard before a job can hear them: until it says that it runs, Python imports torch and the rest.

That takes seconds, on a slow disk half a minute, and must not be broken off, or the engine could do no other job. So
the job's end is reported beside it, and whoever imports finds the job over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from ..contract import events
from ..contract.job_folder import JobFolder
from ..errors import EngineError, JobCancelledError, JobPausedError

LOOK_SECONDS = 0.5

Report = Callable[[events.Event], None]


class EarlyStop:
    """A context manager around a job's work, and what its events pass through.

    Args:
        folder: of the job.
        report: takes the events.
        leave: ends the engine's attendance at the job.
    """

    def __init__(self, folder: JobFolder, report: Report, leave: Callable[[], None]) -> None:
        self._folder, self._report, self._leave = folder, report, leave
        self._reporting = threading.RLock()
        self._hears_itself = threading.Event()
        self._over: EngineError | None = None
        self._thread = threading.Thread(target=self._listen, name="early stop", daemon=True)

    def report(self, event: events.Event) -> None:
        """Pass an event on.

        Raises:
            JobCancelledError: the job is over, as was reported already.
        """
        with self._reporting:
            if self._over is not None:
                raise self._over
            self._report(event)
            if isinstance(event, events.StateChanged) and event.state == events.RUNNING:
                self._hears_itself.set()

    def __enter__(self) -> EarlyStop:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._hears_itself.set()
        self._thread.join()

    def _listen(self) -> None:
        while self._over is None and not self._hears_itself.wait(LOOK_SECONDS):
            with suppress(EngineError):  # its folder is away: perhaps it comes back
                self._look()

    def _look(self) -> None:
        try:
            self._folder.stop_if_told()
        except JobCancelledError as told:
            state = events.PAUSED if isinstance(told, JobPausedError) else events.CANCELLED
            with self._reporting:
                if self._hears_itself.is_set():
                    return
                self.report(events.StateChanged(state))
                self._over = told
            self._leave()
