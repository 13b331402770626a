"""One engine for many jobs: takes them from the queue of a results folder, one after the other, and keeps the model.

Imports torch only to work, so that it says hello at once and leaves little behind while it waits.
"""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .. import errors
from ..contract import events
from ..contract.identity import Identity
from ..contract.job_folder import HEARTBEAT_SECONDS, JobFolder, storage_errors
from ..contract.job_queue import RESUME, SAMPLE, JobQueue, Ticket
from ..contract.request import JobRequest, Lora
from ..diffusion.location import locate
from ..errors import EngineError, JobCancelledError
from ..system.files import open_to_append, remove_half_written
from ..system.locks import ProcessLock
from . import worker

if TYPE_CHECKING:
    import torch

    from ..diffusion.keeping import KeptPrior
    from ..diffusion.prior import Prior

LOOK_SECONDS = 0.1
LOOKS = 4
"""Pictures of a 2D preview."""

NICENESS = 5
"""Below Blender, which shares the processor with us."""

DoJob = Callable[[Ticket, JobFolder], int]

log = logging.getLogger(__name__)


def serve(results: Path, idle_seconds: float, do: DoJob | None = None) -> int:
    """Do the jobs of a results folder until none has come for `idle_seconds`, or until told to leave.

    Args:
        results: the folder of the job folders.
        do: does one job; by default with `Jobs`.

    Returns:
        An exit code (`sdi_engine.errors`). A second engine for the same folder leaves at once: it is not needed.
    """
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
        with lock, worker.stop_signals(), _heartbeat(queue) as heart:
            return _take_turns(queue, idle_seconds, do or Jobs().do, heart)
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


class Jobs:
    """Does jobs with a model that stays loaded."""

    def __init__(self) -> None:
        self._kept: KeptPrior | None = None

    def do(self, ticket: Ticket, folder: JobFolder) -> int:
        """Do one job; its exit code."""
        work = self._sample if ticket.verb == SAMPLE else functools.partial(worker.make_mesh, load=self._load)
        code = worker.run(folder.path, resume=ticket.verb == RESUME, work=work)
        if self._kept is not None:
            if code == errors.EXIT_OUT_OF_MEMORY:
                self._kept.forget()
            else:
                self._kept.release()
        return code

    def _sample(self, folder: JobFolder, request: JobRequest, resume: bool, report: worker.Listener) -> None:
        locate(request.model)
        with worker.torch_work():
            from ..studies.sampling import sample

            def report_or_stop(event: events.Event) -> None:
                report(event)
                if folder.cancel_flag.exists():
                    raise JobCancelledError("The preview was cancelled.")

            sample(request, folder.path, report_or_stop, LOOKS, self._load)

    def _load(self, model: str, device: torch.device, loras: Sequence[Lora]) -> Prior:
        from ..diffusion.keeping import KeptPrior

        self._kept = self._kept or KeptPrior()
        return self._kept.load(model, device, loras)


class _Heart:
    """What the engine says of itself besides that it lives."""

    def __init__(self, queue: JobQueue) -> None:
        self.job = ""
        self.model = ""
        self.trouble = ""  # with the queue, as the log has it already
        self._queue = queue
        self._started = time.time()
        self._engine = Identity.ours().to_json()
        self._beating = threading.Lock()

    def beat(self) -> None:
        """Say it now; raises OSError."""
        with self._beating:
            self._queue.beat(self._started, self.job, self.model, self._engine)

    def try_to_beat(self) -> None:
        """Say it now where that is possible: a network drive may be away for a moment."""
        with suppress(OSError):
            self.beat()

    def announce(self, ticket: Ticket) -> None:
        """We are about to take this job."""
        self.job = ticket.name
        self.beat()


def _take_turns(queue: JobQueue, idle_seconds: float, do: DoJob, heart: _Heart) -> int:
    device = ProcessLock("device")
    idle_since = time.monotonic()
    while not _is_to_leave(queue):
        ticket = _take(queue, device, heart)
        if ticket is not None:
            with device:
                code = _do(queue, ticket, do, heart)
            if _interrupted(code, queue.job_folder(ticket)):
                return errors.EXIT_CANCELLED
            idle_since = time.monotonic()
        elif not _has_work(queue) and time.monotonic() - idle_since > idle_seconds:
            break
        else:
            time.sleep(LOOK_SECONDS)
    with suppress(OSError):
        queue.leave_flag.unlink(missing_ok=True)
    return errors.EXIT_DONE


def _is_to_leave(queue: JobQueue) -> bool:
    try:
        return queue.leave_flag.exists() or queue.is_held
    except OSError:  # a network drive that is away for a moment: nobody can say so now
        return False


def _has_work(queue: JobQueue) -> bool:
    """Whether a job waits that is ours to do."""
    try:
        return any(ticket.is_ours for ticket in queue.waiting())
    except OSError:
        return False


def _take(queue: JobQueue, device: ProcessLock, heart: _Heart) -> Ticket | None:
    """The next job, with the device locked; None where there is none, or another engine of this person is at work.

    Two at once would share one GPU's memory, and both be slow.
    """
    if not _has_work(queue) or not device.acquire():
        return None
    ticket = None
    try:
        ticket = queue.take(heart.announce)
    except OSError as error:
        if str(error) != heart.trouble:  # ten times a second, perhaps for hours
            log.warning('The queue of "%s" cannot be read: %s', queue.results, error)
        heart.trouble = str(error)
    else:
        heart.trouble = ""
    finally:
        if ticket is None:
            heart.job = ""
            device.release()
    return ticket


def _do(queue: JobQueue, ticket: Ticket, do: DoJob, heart: _Heart) -> int:
    folder = queue.job_folder(ticket)
    try:
        with _printing_into(folder.log_file):
            code = do(ticket, folder)
        with suppress(EngineError):
            heart.model = folder.request().model
    finally:
        heart.job = ""
        heart.try_to_beat()  # so that a status which cannot be taken away now does not speak for us
        with suppress(OSError):
            folder.leave()
    return code


def _interrupted(code: int, folder: JobFolder) -> bool:
    """Whether the job ended because somebody wants this process to end, not only the job."""
    return code == errors.EXIT_CANCELLED and not folder.cancel_flag.exists() and not folder.pause_flag.exists()


@contextmanager
def _printing_into(file: Path) -> Iterator[None]:
    """Let all that this process prints, from Python or not, go into a file."""
    with ExitStack() as stack:
        try:
            output = stack.enter_context(open_to_append(file))
        except OSError as error:  # a full disk is the job's to tell
            log.warning("%s cannot be written: %s", file, error)
            yield
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            before = os.dup(stream.fileno())
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, stream.fileno())
            stack.callback(stream.flush)
            os.dup2(output.fileno(), stream.fileno())
        yield


@contextmanager
def _heartbeat(queue: JobQueue) -> Iterator[_Heart]:
    stop = threading.Event()
    heart = _Heart(queue)
    with storage_errors(queue.results):
        heart.beat()

    def go_on_beating() -> None:
        said = ("", "")
        last = time.monotonic()
        while not stop.wait(LOOK_SECONDS):
            now = time.monotonic()
            if said == (heart.job, heart.model) and now - last < HEARTBEAT_SECONDS:
                continue
            said, last = (heart.job, heart.model), now
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
