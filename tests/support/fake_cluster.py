"""A stand-in for `ClusterPool`: a cluster at one address, which does its jobs in this process."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from sdi_engine import errors
from sdi_engine.contract.job_queue import RUN
from sdi_engine.errors import EnvironmentMissingError
from sdi_engine.service.pool import Outcome, ignore

ADDRESS = "ray://machines:10001"
NOBODY = "ray://nobody:10001"
NO_ANSWER = f'No Ray cluster answers at "{NOBODY}": check the address, and whether the cluster runs.'


class FakeCluster:
    """Two nodes; `do` is what they do with a job's folder, a verb and a listener, and is told where to pause.

    Attributes:
        opened: how many there have been.
    """

    is_local = False
    capacity = 2
    opened = 0

    @staticmethod
    def do(job, verb, listener, pausing):
        """The outcome of a job."""
        raise NotImplementedError

    def __init__(self, address):
        if address != ADDRESS:
            raise EnvironmentMissingError(NO_ANSWER)
        type(self).opened += 1
        self._threads = ThreadPoolExecutor(self.capacity)
        self._pausing = threading.Event()

    def submit(self, job, verb=RUN, listener=ignore) -> Future[Outcome]:
        return self._threads.submit(self.do, job, verb, listener, self._pausing)

    def close(self, *, pause=False):
        if pause:
            self._pausing.set()
        self._threads.shutdown(cancel_futures=pause)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close(pause=error is not None)


def paused() -> Outcome:
    return Outcome(errors.EXIT_CANCELLED, seconds=1.0)
