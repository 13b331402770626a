"""The jobs of an evaluation, done by several processes at once, each of which keeps its model loaded.

A process is told the names of job folders, a line each, on its standard input, and answers each of them with a line
when it is done. When its input ends, because there is nothing left to do, or somebody has stopped the evaluation, or
it has crashed, it saves the job that it is at, to go on with it later, and leaves.

What became of a job stands in its folder in `run.json` (`Outcome`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors
from ..contract import events
from ..contract.job_folder import JobFolder, storage_errors
from ..contract.request import Lora
from ..diffusion.counted_prior import CountedPrior
from ..errors import EngineError, EnvironmentMissingError, StorageError
from ..service import worker
from ..system.files import read_json_object, touch, write_atomically
from ..system.redaction import redact_output
from .plan import Job

if TYPE_CHECKING:
    import torch

    from ..diffusion.keeping import KeptPrior
    from ..diffusion.loading import LoadPrior
    from ..diffusion.prior import Prior

JOBS_FOLDER = "jobs"
LOG_FILE = "log.txt"
OUTCOME_FILE = "run.json"

LEAVING_SECONDS = 90.0
"""A process that has not left after so long is ended: it may have been loading a model."""

LOOK_SECONDS = 0.2

HOPELESS: dict[int, type[EngineError]] = {
    errors.EXIT_ENVIRONMENT: EnvironmentMissingError,
    errors.EXIT_STORAGE: StorageError,
}
"""Ends of a job after which all others would end in the same way."""

CRASHED = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a job, over all the times that it was gone on with.

    Attributes:
        exit_code: `sdi_engine.errors`; `EXIT_CANCELLED` where it waits to be gone on with.
        error: the sentence of one that failed.
        seconds: of all its work but for loading the model; attempts that came to nothing too.
        optimise_seconds: of them, those before the surface was taken.
        load_seconds: of loading the model, mostly 0, since it stays loaded.
        model_evaluations: images on which the 2D model was asked; guidance by eq. (3) takes two.
    """

    exit_code: int
    error: str = ""
    seconds: float = 0.0
    optimise_seconds: float = 0.0
    load_seconds: float = 0.0
    model_evaluations: int = 0

    @property
    def is_final(self) -> bool:
        """Whether nothing is to be done any more, for better or worse."""
        return self.exit_code != errors.EXIT_CANCELLED and self.exit_code not in HOPELESS

    @classmethod
    def of(cls, path: Path) -> Outcome | None:
        """What stands in a job folder; None where nothing does."""
        try:
            return cls(**read_json_object(path / OUTCOME_FILE) or {})
        except TypeError:
            return None

    def save(self, path: Path) -> None:
        """Write it into a job folder; raises StorageError."""
        with storage_errors(path):
            write_atomically(path / OUTCOME_FILE, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def run_jobs(folder: Path, jobs: Sequence[Job], processes: int, report: Callable[[events.Event], None]) -> None:
    """Do those jobs that are not done, in their order; a job that fails is done too.

    Args:
        folder: of the evaluation.
        processes: at work at once; they share the processor's cores.
        report: is told how far it is.

    Raises:
        EngineError: no job can be done, because of the machine.
        KeyboardInterrupt: somebody has stopped it; the jobs at hand are saved.
    """
    waiting = [job for job in jobs if not _is_done(folder / JOBS_FOLDER / job.key)]
    for job in waiting:
        _prepare(folder / JOBS_FOLDER / job.key, job)
    if not waiting:
        return
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    for job in waiting:
        tasks.put(job.key)
    finished: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
    threads = max(1, core_count() // processes)
    crew = [_Process(folder, threads, tasks, finished) for _ in range(min(processes, len(waiting)))]
    try:
        for process in crew:
            process.start()
        _await(folder, len(jobs) - len(waiting), len(jobs), finished, report)
    finally:
        for process in crew:
            process.dismiss()
        deadline = time.monotonic() + LEAVING_SECONDS
        for process in crew:
            process.await_end(deadline)


def core_count() -> int:
    """How many cores of the processor this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def do_job(path: Path, load: LoadPrior) -> Outcome:
    """Do the job in a folder, or go on with it, and write down what became of it.

    Args:
        load: where the model comes from.
    """
    folder = JobFolder(path)
    before = Outcome.of(path)
    watch = _Watch(load)
    start = time.perf_counter()
    make = functools.partial(worker.make_mesh, load=watch.load)
    code = worker.run(path, resume=before is not None, listener=watch.listen, work=make)
    watch.stop()
    earlier = before or Outcome(code)
    outcome = Outcome(
        exit_code=code,
        error=watch.error,
        seconds=round(earlier.seconds + time.perf_counter() - start - watch.load_seconds, 3),
        optimise_seconds=round(earlier.optimise_seconds + watch.optimised_at - start - watch.load_seconds, 3),
        load_seconds=round(earlier.load_seconds + watch.load_seconds, 3),
        model_evaluations=earlier.model_evaluations + watch.evaluations,
    )
    if outcome.is_final:
        for heavy in (folder.checkpoint_folder, folder.previews_folder, folder.turntable_folder):
            shutil.rmtree(heavy, ignore_errors=True)
    outcome.save(path)
    return outcome


class _Watch:
    """What a job costs, besides what it says itself."""

    def __init__(self, load: LoadPrior) -> None:
        self._load = load
        self._prior: CountedPrior | None = None
        self.load_seconds = 0.0
        self.optimised_at: float | None = None
        self.error = ""

    @property
    def evaluations(self) -> int:
        return self._prior.evaluations if self._prior is not None else 0

    def load(self, model: str, device: torch.device, loras: Sequence[Lora] = ()) -> Prior:
        start = time.perf_counter()
        self._prior = CountedPrior(self._load(model, device, loras))
        self.load_seconds += time.perf_counter() - start
        return self._prior

    def listen(self, event: events.Event) -> None:
        if isinstance(event, events.Failed):
            self.error = event.message
        elif isinstance(event, events.StateChanged):
            # taking the surface may fail, and then optimising begins anew
            if event.state == events.EXPORTING:
                self.optimised_at = time.perf_counter()
            elif event.state == events.RUNNING:
                self.optimised_at = None

    def stop(self) -> None:
        self.optimised_at = self.optimised_at or time.perf_counter()


class _Process:
    """A process that does jobs, and the thread that tells it which."""

    def __init__(
        self,
        folder: Path,
        threads: int,
        tasks: queue.SimpleQueue[str],
        finished: queue.SimpleQueue[str | BaseException],
    ) -> None:
        self._folder = folder
        self._threads = threads
        self._tasks = tasks
        self._finished = finished
        self._process: subprocess.Popen[bytes] | None = None
        self._dismissed = threading.Event()
        self._thread = threading.Thread(target=self._lead, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def dismiss(self) -> None:
        """Let it save the job it is at, and leave."""
        self._dismissed.set()
        self._end_input()

    def await_end(self, deadline: float) -> None:
        """Wait for it; after the deadline (`time.monotonic`) end it."""
        if not self._thread.ident:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
            self._thread.join()

    def _lead(self) -> None:
        try:
            with contextlib.suppress(queue.Empty):
                while not self._dismissed.is_set():
                    key = self._tasks.get_nowait()
                    self._do(key)
                    self._finished.put(key)
        except BaseException as error:
            self._finished.put(error)
        finally:
            self._end_input()
            if self._process is not None:
                self._process.wait()

    def _do(self, key: str) -> None:
        if self._process is None:
            self._process = _started(self._folder, self._threads)
            if self._dismissed.is_set():
                return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # it has crashed, or was dismissed
            self._process.stdin.write(f"{key}\n".encode())
            self._process.stdin.flush()
        if self._process.stdout.readline() or self._dismissed.is_set():
            return
        code, self._process = self._process.wait(), None
        message = f'The process of this job ended unexpectedly (code {code}): see "{self._folder / LOG_FILE}".'
        Outcome(CRASHED, message).save(self._folder / JOBS_FOLDER / key)

    def _end_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


def _await(
    folder: Path,
    done: int,
    total: int,
    finished: queue.SimpleQueue[str | BaseException],
    report: Callable[[events.Event], None],
) -> None:
    start, first = time.monotonic(), done
    report(events.Progress("Making objects", done, total))
    while done < total:
        try:
            said = finished.get(timeout=LOOK_SECONDS)  # in small bites, so that Ctrl+C is heard on Windows too
        except queue.Empty:
            continue
        if isinstance(said, BaseException):
            raise said
        outcome = Outcome.of(folder / JOBS_FOLDER / said)
        if outcome is not None and outcome.exit_code in HOPELESS:
            raise HOPELESS[outcome.exit_code](outcome.error)
        if outcome is None or not outcome.is_final:
            raise KeyboardInterrupt  # somebody has stopped that process
        if outcome.error:
            report(events.Notice(f'"{said}" failed: {outcome.error}'))
        done += 1
        rate = (done - first) / (time.monotonic() - start)
        report(events.Progress("Making objects", done, total, rate, (total - done) / rate))


def _is_done(path: Path) -> bool:
    outcome = Outcome.of(path)
    return outcome is not None and outcome.is_final


def _prepare(path: Path, job: Job) -> None:
    """A job folder that can be begun or gone on with; one of ours that was hardly begun is made anew."""
    if Outcome.of(path) is None:
        if JobFolder(path).request_file.is_file():
            shutil.rmtree(path, ignore_errors=True)
        JobFolder.create(path, job.request)


def _started(folder: Path, threads: int) -> subprocess.Popen[bytes]:
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "GOMP_SPINCOUNT": worker.SPIN_COUNT,
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
    }
    # Ctrl+C is for us alone: the process is told in its own way (`_Process.dismiss`)
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    with storage_errors(folder), (folder / LOG_FILE).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder / JOBS_FOLDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            **apart,
        )


class _Orders:
    """The job folders that a process is told to do; when they end, the job at hand is paused."""

    def __init__(self, jobs: Path, source: io.FileIO) -> None:
        self._jobs = jobs
        self._source = source
        self._names: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._current: JobFolder | None = None
        self._ended = False
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def __iter__(self) -> Iterator[Path]:
        while (name := self._names.get()) is not None:
            folder = JobFolder(self._jobs / name)
            with self._lock:
                if self._ended:
                    return
                folder.pause_flag.unlink(missing_ok=True)  # of a process that could not heed it
                self._current = folder
            yield folder.path
            with self._lock:
                self._current = None
                folder.pause_flag.unlink(missing_ok=True)

    def _listen(self) -> None:
        for line in self._source:
            self._names.put(line.decode().strip())
        with self._lock:
            self._ended = True
            if self._current is not None:
                touch(self._current.pause_flag)
        self._names.put(None)


def _main(jobs: Path) -> int:
    redact_output()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for noisy in ("httpx", "httpcore", "urllib3", "PIL", "trimesh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is for the log
    kept: KeptPrior | None = None

    def load(model: str, device: torch.device, loras: Sequence[Lora] = ()) -> Prior:
        nonlocal kept
        from ..diffusion.keeping import KeptPrior

        kept = kept or KeptPrior()
        return kept.load(model, device, loras)

    # not sys.stdin: a thread that waits for its lock would not let the interpreter end
    orders = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    for path in _Orders(jobs, orders):
        log.info("%s", path.name)
        outcome = do_job(path, load)
        if kept is not None and outcome.exit_code == errors.EXIT_OUT_OF_MEMORY:
            kept.forget()
        print(outcome.exit_code, file=answers, flush=True)
        if not outcome.is_final:
            return outcome.exit_code
    return errors.EXIT_DONE


if __name__ == "__main__":
    raise SystemExit(_main(Path(sys.argv[1])))
