"""Runs one job in its folder: heartbeat, events, and an exit code for every way to end. Imports torch only to work."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .. import errors
from ..contract import events
from ..contract.attendance import is_attended, machine_elsewhere
from ..contract.job_folder import HEARTBEAT_SECONDS, JobFolder, is_disk_full, is_name_too_long, storage_errors
from ..contract.request import JobRequest
from ..diffusion.request_check import check_request
from ..errors import (
    BadInputError,
    EngineError,
    EnvironmentMissingError,
    JobCancelledError,
    JobPausedError,
    OutOfMemoryError,
    StorageError,
    is_out_of_memory,
    out_of_memory,
)
from ..system import files, liveness, processes
from ..system.locks import ProcessLock
from .device import device_taken
from .early_stop import EarlyStop

if TYPE_CHECKING:
    from ..diffusion.loading import LoadPrior

SPIN_COUNT = "5000"
"""How long OpenMP threads (of GNU's library, which torch uses on Linux) spin while they wait for each other. With the
default a step takes ten times as long once another program, such as Blender, wants the same cores; without any spinning
it takes twice as long even on idle cores. Read when torch is loaded."""

IMPORTING = "Starting PyTorch"
"""The phase before an engine's first job, on a slow disk of half a minute."""

ABSENCE_SECONDS = 60.0
"""How long a job waits for its drive to come back."""

MOST_ABSENCES = 5
_ABSENCES = {
    getattr(errno, name, errno.EIO)  # Windows has not all of them
    for name in ("ENOENT", "EIO", "ESTALE", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH", "ETIMEDOUT", "ENODEV")
}
_WINDOWS_ABSENCES = (21, 53, 59, 64, 67, 121, 1167, 1231, 1232, 1236)
"""Windows' own numbers of a drive or a network that is not there, most of which have no counterpart in `errno`."""

MOST_NAMED = 5
"""How many unknown settings a notice names."""

_SHOWN = (events.Progress, events.PreviewSaved, events.LiveMeshSaved)
"""Events that are only looked at, and followed by others: they end no job where another program has the file open."""

Listener = Callable[[events.Event], None]
Work = Callable[[JobFolder, JobRequest, bool, Listener], None]
"""Does a job; resumes it if the third argument is true, and reports its progress to the fourth."""

log = logging.getLogger(__name__)


def make_mesh(
    folder: JobFolder, request: JobRequest, resume: bool, report: Listener, load: LoadPrior | None = None
) -> None:
    """The default work of a job: make a mesh; `load` as in `text_to_mesh.make`."""
    check_request(request, resume)  # before torch is loaded, which takes seconds
    if "torch" not in sys.modules:
        report(events.Progress(IMPORTING, 0, 1))
    with torch_work():
        from ..run import text_to_mesh

        text_to_mesh.make(folder, request, resume, report, load)


def make_mesh_in_turn(folder: JobFolder, request: JobRequest, resume: bool, report: Listener) -> None:
    """`make_mesh`, once this computer's device is free of this person's other engines."""
    check_request(request, resume)  # an error is reported before the wait
    with device_taken(report, folder.path, folder.stop_if_told):
        make_mesh(folder, request, resume, report)


def run(
    path: Path | str,
    *,
    resume: bool,
    listener: Listener = lambda event: None,
    work: Work = make_mesh,
    taken_by: Mapping[str, Any] | None = None,
) -> int:
    """Do the job in a folder, from the start or from its last checkpoint.

    Args:
        path: a job folder.
        resume: whether to continue from the last checkpoint, if there is one; a finished job then stays as it is.
        listener: called with every event, as it happens; with `Failed` also where that cannot be written.
        work: what to do, `make_mesh` by default.
        taken_by: the process (`processes.ourselves`) that took the job from a queue and passed it to this one.

    Returns:
        The exit code (`sdi_engine.errors`), after logging a sentence that explains it.
    """
    with ExitStack() as alone:
        try:
            folder = JobFolder.open(path)
            folder.refuse_links()
            alone.enter_context(_alone_at(folder, taken_by or {}))
        except EngineError as error:
            log.error("%s", error)
            listener(events.Failed(str(error), error.exit_code))
            return error.exit_code
        return _run(folder, resume, listener, work)


def _run(folder: JobFolder, resume: bool, listener: Listener, work: Work) -> int:
    """`run`, of a job that nobody else is at."""
    if resume and folder.result() is not None:
        log.info('The job "%s" is already done.', folder.path)
        return errors.EXIT_DONE

    def write(event: events.Event) -> None:
        try:
            with storage_errors(folder.path):
                folder.append(event)
        except StorageError as error:
            if isinstance(event, events.Failed):
                listener(event)
            if not (isinstance(event, _SHOWN) and isinstance(error.__cause__, files.InUseError)):
                raise
            log.warning("An event is left out: %s", error)
        listener(event)

    report = write
    try:
        _forget_last_run(folder, resume)
        with _heartbeat(folder) as leave, EarlyStop(folder, write, leave) as early, stop_signals():
            report = early.report
            report(events.StateChanged(events.STARTING))
            request, unknown = folder.read_request()
            if unknown:
                report(events.Notice(_ignored_settings(unknown)))
            _work_on(folder, request, resume, report, work)
            report(events.StateChanged(events.DONE))
        return errors.EXIT_DONE
    except JobPausedError:
        log.info("The job was paused; `resume` continues it.")
        _report_end(report, events.StateChanged(events.PAUSED))
        return errors.EXIT_CANCELLED
    except (JobCancelledError, KeyboardInterrupt):
        log.info("The job was cancelled; `resume` continues it from its last checkpoint.")
        _report_end(report, events.StateChanged(events.CANCELLED))
        return errors.EXIT_CANCELLED
    except EngineError as error:
        log.error("%s", error)
        _report_end(report, events.Failed(str(error), error.exit_code), events.StateChanged(events.FAILED))
        return error.exit_code
    except Exception as error:
        log.exception("An unexpected error")
        detail = " ".join(str(error).split())
        message = (
            f"An unexpected error ended the job ({type(error).__name__}: {detail}): please report it with the log."
        )
        _report_end(report, events.Failed(message, 1), events.StateChanged(events.FAILED))
        return 1


@contextmanager
def torch_work() -> Iterator[None]:
    """Load torch for a block that works with it: idle threads spin briefly, and errors get an explanation.

    What a version of torch cannot do on Apple's GPUs yet, the CPU does: until 2026 among it the gradients of features
    read from a grid, without which no object can be made (`aten::grid_sampler_3d_backward`,
    https://github.com/pytorch/pytorch/pull/179388). The variable for that is read when torch is loaded.

    Raises:
        EnvironmentMissingError: a Python package is missing.
        OutOfMemoryError: there was not enough memory.
        StorageError: a disk is full, such as that of a cache.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    try:
        import torch  # noqa: F401

        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] == (__package__ or "").partition(".")[0]:
            raise  # a bug of ours, not a missing package
        raise EnvironmentMissingError(missing_package(error)) from error
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(out_of_memory(error)) from error
        raise
    except OSError as error:
        if is_disk_full(error):
            where = f'The disk of "{error.filename}"' if error.filename else "A disk"
            raise StorageError(f"{where} is full: free some space, then try again.") from error
        raise


@contextmanager
def device_work(report: Listener, place: Path | None) -> Iterator[None]:
    """`torch_work` for work without a job, once this computer's device is free of this person's other engines.

    Args:
        place: the folder that it works in, which those who wait meanwhile are told; None where it has none.
    """
    with device_taken(report, place), torch_work():
        yield


@contextmanager
def stop_signals() -> Iterator[None]:
    """Make SIGTERM end the work like Ctrl+C does; in other threads than the main one this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def missing_package(error: ImportError) -> str:
    """One sentence about a package that this Python lacks, with the command that installs it."""
    requirements = Path(__file__).parent.with_name("requirements.txt")
    return (
        f'The Python "{sys.executable}" lacks the package "{error.name or error}": install what the engine needs with '
        f'"{sys.executable}" -m pip install -r "{requirements}", or choose another Python.'
    )


def _ignored_settings(settings: list[str]) -> str:
    named = ", ".join(settings[:MOST_NAMED]) + (", …" if len(settings) > MOST_NAMED else "")
    return f"The job was made by a later version, some of whose settings are ignored ({named}): update the extension."


def _work_on(folder: JobFolder, request: JobRequest, resume: bool, report: Listener, work: Work) -> None:
    """Do the work; if the results' drive goes away for a moment, resume from the last checkpoint once it is back."""
    device = files.device_of(folder.path)
    for _ in range(MOST_ABSENCES):
        try:
            work(folder, request, resume, report)
            return
        except StorageError as error:
            if not _was_away(error) or not _comes_back(folder, device):
                raise
            log.warning("%s The drive is back: resuming from the last checkpoint.", error)
            resume = True
    work(folder, request, resume, report)


def _was_away(error: StorageError) -> bool:
    cause = error.__cause__
    if not isinstance(cause, OSError) or is_name_too_long(cause):
        return False
    return cause.errno in _ABSENCES or getattr(cause, "winerror", None) in _WINDOWS_ABSENCES


def _comes_back(folder: JobFolder, device: int | None) -> bool:
    """Wait for the job's folder to come back with its drive, `device`; False if it was deleted, or after too long."""
    watch = liveness.Stopwatch()
    while not files.is_there(folder.request_file):
        seconds = watch.look()
        is_sure = files.is_there(folder.path.parent) or seconds >= files.MISSING_SECONDS
        if seconds > ABSENCE_SECONDS or (is_sure and files.was_deleted(folder.path, device)):
            return False
        time.sleep(1.0)
    return True


@contextmanager
def _alone_at(folder: JobFolder, taken_by: Mapping[str, Any]) -> Iterator[None]:
    """Be the only one at a job in this block: of several that begin with it at the same moment, one does.

    Between two machines only `_refuse_running` tells, which sees what is written in the folder.

    Raises:
        BadInputError: another engine works on it.
        StorageError: locks do not work on this computer.
    """
    lock = ProcessLock(f"job {os.path.realpath(folder.path)}", is_for_once=True)
    if not lock.acquire():
        raise BadInputError(f'Another engine works on the job "{folder.path}": wait for it or cancel it.')
    with lock:
        _refuse_running(folder, taken_by=taken_by)
        yield


def _refuse_running(
    folder: JobFolder,
    clock: liveness.Clock = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    *,
    taken_by: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Raise BadInputError if another engine works on the job; one on another machine is watched to find out."""
    first = folder.status()
    if first is None or processes.is_ourselves(first) or processes.are_the_same(first, taken_by):
        return
    if not is_attended(folder, clock):
        return
    if processes.runs(first):
        raise BadInputError(
            f'Another engine (process {first.get("pid")}) works on the job "{folder.path}": wait for it or cancel it.'
        )
    where = machine_elsewhere(folder) or "another machine"
    log.info("Watching for %.0f s whether the engine on %s still works on this job.", liveness.STALE_SECONDS, where)
    watch = liveness.Stopwatch(clock)
    while watch.look() < liveness.STALE_SECONDS:
        sleep(1.0)
        if folder.status() not in (first, None):
            raise BadInputError(f'An engine on {where} works on the job "{folder.path}": wait for it or cancel it.')


def _forget_last_run(folder: JobFolder, resume: bool) -> None:
    with storage_errors(folder.path):
        files.remove_file(folder.result_file, missing_ok=True)
        folder.remove_half_written()
        if resume:  # a flag set before a new run is meant for it, while one set before a resumption ended the last run
            for flag in (folder.cancel_flag, folder.finish_flag, folder.pause_flag):
                flag.unlink(missing_ok=True)
        if not resume:
            folder.forget_checkpoint()


def _report_end(report: Listener, *last_events: events.Event) -> None:
    """Report how the job ended, if that can be written: on a full disk only the exit code and the log tell it."""
    for event in last_events:
        with suppress(EngineError):
            report(event)


@contextmanager
def _heartbeat(folder: JobFolder) -> Iterator[Callable[[], None]]:
    """Say in this block that an engine is at the job; yields what ends that earlier."""
    started = time.time()
    stop = threading.Event()
    with storage_errors(folder.path):
        folder.beat(started)

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            try:
                folder.beat(started)
            except OSError as error:
                log.warning("status.json could not be written: %s", error)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()

    def leave() -> None:
        stop.set()
        thread.join()
        with suppress(OSError):
            folder.leave()

    try:
        yield leave
    finally:
        leave()
