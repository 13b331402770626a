"""One engine for many jobs: takes them from the queue of a results folder and lets a pool do them.

Imports torch only to work, so that it says hello at once and leaves little behind while it waits.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import errors
from ..contract import events
from ..contract.identity import Identity
from ..contract.job_folder import HEARTBEAT_SECONDS, JobFolder, storage_errors
from ..contract.job_queue import JobQueue, Ticket
from ..errors import EngineError
from ..system.files import remove_half_written
from ..system.locks import ProcessLock
from . import worker
from .device import Device
from .own_process import OwnProcess, was_interrupted
from .pool import Outcome, Pool

LOOK_SECONDS = 0.1

NICENESS = 5
"""Below Blender, which shares the processor with us."""

log = logging.getLogger(__name__)


def serve(results: Path, idle_seconds: float, pool: Pool | None = None) -> int:
    """Do the jobs of a results folder until none has come for `idle_seconds`, or until told to leave.

    Args:
        results: the folder of the job folders.
        pool: does the jobs, and is closed at the end; by default this process.

    Returns:
        An exit code (`sdi_engine.errors`). A second engine for the same folder leaves at once: it is not needed.
    """
    pool = pool or OwnProcess()
    queue = JobQueue(results)
    lock = ProcessLock(f"queue {results.resolve()}")
    try:
        with storage_errors(results):
            queue.make_folders()
            if not lock.acquire():
                log.info('Another engine serves "%s".', results)
                return errors.EXIT_DONE
            queue.leave_flag.unlink(missing_ok=True)  # meant for an engine that was gone already
            remove_half_written(queue.engine_folder)
    except EngineError as error:
        log.error("%s", error)
        return error.exit_code
    try:
        # The signals come first: whoever reads that this engine is there may tell it to leave.
        with lock, worker.stop_signals(), _heartbeat(queue, pool.capacity) as heart:
            return _Server(queue, pool, heart).serve(idle_seconds)
    except EngineError as error:
        log.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        return errors.EXIT_CANCELLED


def step_back() -> None:
    """Let this process leave the processor to Blender when both want it, and say where it was when it crashes."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    faulthandler.enable()


class _Heart:
    """What the engine says of itself besides that it lives."""

    def __init__(self, queue: JobQueue, capacity: int) -> None:
        self.jobs: tuple[str, ...] = ()
        self.model = ""
        self._queue = queue
        self._capacity = capacity
        self._started = time.time()
        self._engine = Identity.ours().to_json()
        self._beating = threading.Lock()

    def beat(self) -> None:
        """Say it now; raises OSError."""
        with self._beating:
            self._queue.beat(self._started, self.jobs, self.model, self._engine, self._capacity)

    def try_to_beat(self) -> None:
        """Say it now where that is possible: a network drive may be away for a moment."""
        with suppress(OSError):
            self.beat()

    def announce(self, ticket: Ticket) -> None:
        """We are about to take this job."""
        self.jobs = (*self.jobs, ticket.name)
        self.beat()

    def forget(self, name: str) -> None:
        """We are not at this job any more."""
        self.jobs = tuple(job for job in self.jobs if job != name)


class _Server:
    """Takes tickets from a queue, and sees to it that each has its outcome."""

    def __init__(self, queue: JobQueue, pool: Pool, heart: _Heart) -> None:
        self._queue = queue
        self._pool = pool
        self._heart = heart
        self._device = Device()
        self._at_work: dict[Future[Outcome], Ticket] = {}
        self._trouble = ""  # with the queue, as the log has it already

    def serve(self, idle_seconds: float) -> int:
        """Until nothing has come for so long, or somebody wants us to leave; the exit code."""
        try:
            with self._pool:
                return self._take_turns(idle_seconds)
        finally:
            for future in [future for future in self._at_work if future.done()]:  # paused, or never begun
                self._finish(future)
            self._device.release()

    def _take_turns(self, idle_seconds: float) -> int:
        idle_since = time.monotonic()
        while True:
            is_to_leave = self._is_to_leave()
            ticket = None if is_to_leave else self._take()
            if ticket is not None:
                self._at_work[self._pool.submit(self._queue.job_folder(ticket).path, ticket.verb)] = ticket
            elif self._at_work:
                wait(self._at_work, LOOK_SECONDS, FIRST_COMPLETED)
            elif is_to_leave or (not self._has_work() and time.monotonic() - idle_since > idle_seconds):
                break
            else:
                time.sleep(LOOK_SECONDS)
            for future in [future for future in self._at_work if future.done()]:
                idle_since = time.monotonic()
                if self._finish(future):
                    return errors.EXIT_CANCELLED
        with suppress(OSError):
            self._queue.leave_flag.unlink(missing_ok=True)
        return errors.EXIT_DONE

    def _is_to_leave(self) -> bool:
        try:
            return self._queue.leave_flag.exists() or self._queue.is_held
        except OSError:  # a network drive that is away for a moment: nobody can say so now
            return False

    def _has_work(self) -> bool:
        """Whether a job waits that is ours to do."""
        try:
            return any(ticket.is_ours for ticket in self._queue.waiting())
        except OSError:
            return False

    def _take(self) -> Ticket | None:
        """The next job, where the pool has a place for it and the device is ours to work on; else None."""
        if len(self._at_work) >= self._pool.capacity:
            return None
        if not self._has_work():
            if not self._at_work:
                self._device.release()  # we do not wait for it any more
            return None
        if not self._may_work():
            return None
        ticket, before = None, self._heart.jobs
        try:
            ticket = self._queue.take(self._heart.announce)
        except OSError as error:
            if str(error) != self._trouble:  # ten times a second, perhaps for hours
                log.warning('The queue of "%s" cannot be read: %s', self._queue.results, error)
            self._trouble = str(error)
        else:
            self._trouble = ""
        finally:
            if ticket is None:
                self._heart.jobs = before
                if not self._at_work:
                    self._device.release()
        return ticket

    def _may_work(self) -> bool:
        """Whether no other engine of this person has the device, or waits for it while we have it."""
        if not self._pool.is_local:
            return True
        return not self._device.is_wanted if self._device.is_held else self._device.acquire()

    def _finish(self, future: Future[Outcome]) -> bool:
        """See a job off that is over; whether somebody wants this process to end, not only the job."""
        ticket = self._at_work.pop(future)
        folder = self._queue.job_folder(ticket)
        try:
            interrupted = self._is_interruption(future, folder)
            with suppress(EngineError):
                self._heart.model = folder.request().model
        finally:
            self._heart.forget(ticket.name)
            self._heart.try_to_beat()  # so that a status which cannot be taken away now does not speak for us
            with suppress(OSError):
                folder.leave()
            if not self._at_work:
                self._device.release()
        return interrupted

    def _is_interruption(self, future: Future[Outcome], folder: JobFolder) -> bool:
        said: list[events.Event] = [events.StateChanged(events.PAUSED)]
        if not future.cancelled():
            try:
                return was_interrupted(future.result(), folder.path)
            except EngineError as error:
                log.error("%s", error)
                said = [events.Failed(str(error), error.exit_code), events.StateChanged(events.FAILED)]
        for event in said:
            with suppress(OSError, EngineError):
                folder.append(event)
        return False


@contextmanager
def _heartbeat(queue: JobQueue, capacity: int) -> Iterator[_Heart]:
    stop = threading.Event()
    heart = _Heart(queue, capacity)
    with storage_errors(queue.results):
        heart.beat()

    def go_on_beating() -> None:
        said: tuple[object, ...] = ((), "")
        last = time.monotonic()
        while not stop.wait(LOOK_SECONDS):
            now = time.monotonic()
            if said == (heart.jobs, heart.model) and now - last < HEARTBEAT_SECONDS:
                continue
            said, last = (heart.jobs, heart.model), now
            heart.try_to_beat()

    thread = threading.Thread(target=go_on_beating, name="engine heartbeat", daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        stop.set()
        thread.join()
        with suppress(OSError):
            queue.status_file.unlink(missing_ok=True)
