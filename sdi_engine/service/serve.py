"""One engine for many jobs: takes them from the queue of a results folder and submits them to a pool.

Imports torch only to work, so that it reports at once and takes little memory while it waits.
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
from ..system.files import remove_file, remove_half_written
from ..system.locks import ProcessLock
from . import worker
from .device import Device
from .own_process import OwnProcess, has_to_end
from .pool import Outcome, Pool

POLL_SECONDS = 0.1

NICENESS = 5
"""Lower priority than Blender's, which shares the processor with the engine."""

log = logging.getLogger(__name__)


def serve(results: Path, idle_seconds: float, pool: Pool | None = None) -> int:
    """Do the jobs of a results folder until none has come for `idle_seconds`, or until told to leave.

    Args:
        results: the folder that contains the job folders.
        idle_seconds: how long to wait for new jobs.
        pool: does the jobs and is closed at the end; by default this process does them.

    Returns:
        An exit code (`sdi_engine.errors`). A second engine for the same folder exits at once: one is enough.
    """
    pool = pool or OwnProcess()
    queue = JobQueue(results)
    lock = ProcessLock(f"queue {os.path.realpath(results)}")  # `resolve` fails at a loop of links
    try:
        with storage_errors(results):
            queue.make_folders()
            if not lock.acquire():
                log.info('Another engine serves "%s".', results)
                return errors.EXIT_DONE
            queue.leave_flag.unlink(missing_ok=True)  # it was meant for an earlier engine
            remove_half_written(queue.engine_folder)
    except EngineError as error:
        log.error("%s", error)
        return error.exit_code
    try:
        # Signals first: whoever reads the first heartbeat may already tell this engine to stop.
        with lock, worker.stop_signals(), _heartbeat(queue, pool.capacity) as heart:
            return _Server(queue, pool, heart).serve(idle_seconds)
    except EngineError as error:
        log.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        return errors.EXIT_CANCELLED


def step_back() -> None:
    """Lower this process's priority below Blender's, and print a traceback if it crashes."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    faulthandler.enable()


class _Heart:
    """The engine's `status.json`: its jobs, its model, and whether it waits for another engine, with a heartbeat."""

    def __init__(self, queue: JobQueue, capacity: int) -> None:
        self.jobs: tuple[str, ...] = ()
        self.model = ""
        self.waits = False
        self._queue = queue
        self._capacity = capacity
        self._started = time.time()
        self._engine = Identity.ours().to_json()
        self._beating = threading.Lock()

    def beat(self) -> None:
        """Write the status now; raises OSError."""
        with self._beating:
            self._queue.beat(self._started, self.jobs, self.model, self._engine, self._capacity, waits=self.waits)

    def try_to_beat(self) -> None:
        """Write the status if possible: a network drive may be away for a moment."""
        with suppress(OSError):
            self.beat()

    def announce(self, ticket: Ticket) -> None:
        """Write that this job is about to be taken; raises OSError."""
        self.jobs = (*self.jobs, ticket.name)
        self.beat()

    def forget(self, name: str) -> None:
        """Remove a job from the status, from its next heartbeat on."""
        self.jobs = tuple(job for job in self.jobs if job != name)


class _Server:
    """Takes tickets from a queue, and records the outcome of each."""

    def __init__(self, queue: JobQueue, pool: Pool, heart: _Heart) -> None:
        self._queue = queue
        self._pool = pool
        self._heart = heart
        self._device = Device(queue.results)
        self._at_work: dict[Future[Outcome], Ticket] = {}
        self._trouble = ""  # the last error of reading the queue, so that it is logged once

    def serve(self, idle_seconds: float) -> int:
        """Do jobs until none has come for `idle_seconds`, or until told to leave; returns the exit code."""
        try:
            with self._pool:
                return self._take_turns(idle_seconds)
        finally:
            for future in [
                future for future in self._at_work if future.done()
            ]:  # paused or cancelled before they began
                self._finish(future)
            self._device.release()

    def _take_turns(self, idle_seconds: float) -> int:
        idle_since = time.monotonic()
        while True:
            must_leave = self._must_leave()
            ticket = None if must_leave else self._take()
            if ticket is not None:
                self._at_work[self._pool.submit(self._queue.job_folder(ticket).path, ticket.verb)] = ticket
            elif self._at_work:
                wait(self._at_work, POLL_SECONDS, FIRST_COMPLETED)
            elif must_leave or (not self._has_work() and time.monotonic() - idle_since > idle_seconds):
                break
            else:
                time.sleep(POLL_SECONDS)
            for future in [future for future in self._at_work if future.done()]:
                idle_since = time.monotonic()
                if self._finish(future):
                    return errors.EXIT_CANCELLED
        with suppress(OSError):
            self._queue.leave_flag.unlink(missing_ok=True)
        return errors.EXIT_DONE

    def _must_leave(self) -> bool:
        try:
            return self._queue.leave_flag.exists() or self._queue.is_held
        except OSError:  # a network drive is away for a moment
            return False

    def _has_work(self) -> bool:
        """Whether a job waits that this engine may do."""
        try:
            return any(ticket.is_ours for ticket in self._queue.waiting())
        except OSError:
            return False

    def _take(self) -> Ticket | None:
        """The next job if the pool has room for it and this engine holds the device; else None."""
        if len(self._at_work) >= self._pool.capacity:
            return None
        if not self._has_work():
            self._heart.waits = False
            if not self._at_work:
                self._device.release()  # no need to wait for it any more
            return None
        if not self._may_work():
            return None
        ticket, before = None, self._heart.jobs
        try:
            ticket = self._queue.take(self._heart.announce)
        except OSError as error:
            if str(error) != self._trouble:  # or it would be logged ten times a second, perhaps for hours
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
        """Whether this engine may start a job: it holds or gets the device, and no other engine waits for it."""
        if not self._pool.is_local:
            return True
        may = not self._device.is_wanted if self._device.is_held else self._device.acquire()
        self._heart.waits = not may
        return may

    def _finish(self, future: Future[Outcome]) -> bool:
        """Clear up after a job that has ended; returns whether this process has to end, too."""
        ticket = self._at_work.pop(future)
        folder = self._queue.job_folder(ticket)
        try:
            ends_too = self._has_to_end(future, folder)
            with suppress(EngineError):
                self._heart.model = folder.request().model
        finally:
            self._heart.forget(ticket.name)
            self._heart.try_to_beat()  # first, so that a job's status that cannot be removed no longer counts
            with suppress(OSError):
                folder.leave()
            if not self._at_work:
                self._device.release()
        return ends_too

    def _has_to_end(self, future: Future[Outcome], folder: JobFolder) -> bool:
        last_events: list[events.Event] = [events.StateChanged(events.PAUSED)]
        if not future.cancelled():
            try:
                return has_to_end(future.result(), folder.path)
            except EngineError as error:
                log.error("%s", error)
                last_events = [events.Failed(str(error), error.exit_code), events.StateChanged(events.FAILED)]
        for event in last_events:
            with suppress(OSError, EngineError):
                folder.append(event)
        return False


@contextmanager
def _heartbeat(queue: JobQueue, capacity: int) -> Iterator[_Heart]:
    stop = threading.Event()
    heart = _Heart(queue, capacity)
    with storage_errors(queue.results):
        heart.beat()

    def keep_beating() -> None:
        written: tuple[object, ...] = ((), "", False)
        last = time.monotonic()
        while not stop.wait(POLL_SECONDS):
            now = time.monotonic()
            now_true = (heart.jobs, heart.model, heart.waits)
            if written == now_true and now - last < HEARTBEAT_SECONDS:
                continue
            written, last = now_true, now
            heart.try_to_beat()

    thread = threading.Thread(target=keep_beating, name="engine heartbeat", daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        stop.set()
        thread.join()
        with suppress(OSError):
            remove_file(queue.status_file, missing_ok=True)
