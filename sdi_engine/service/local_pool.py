"""A pool of processes on this computer, each of which keeps its model loaded.

A process reads jobs from its standard input, one line of JSON each: {"job": folder, "verb": …}. To its standard output
it writes the job's events, in the format of `events.jsonl`, and finally {"outcome": …, "leaves": …}. When its input
ends, because all jobs are done, the pool was stopped, or the pool's process crashed, it saves its current job, so that
it can be resumed, and exits. If a process crashes, only its job fails: a new process replaces it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import io
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import errors
from ..contract import events
from ..contract.job_folder import JobFolder, storage_errors
from ..contract.job_queue import RUN
from ..errors import EngineError, EnvironmentMissingError
from ..system import processes
from ..system.files import is_there, touch
from ..system.redaction import redact_output
from . import worker
from .own_process import OwnProcess, has_to_end
from .pool import CRASHED, Listener, Outcome, check_processes, ignore

LEAVING_SECONDS = 90.0
"""How long a dismissed process may take to exit before it is killed; it may be loading a model."""

KILLED = 9
"""The number of SIGKILL, which Windows has not."""

COMMAND = (sys.executable, "-m", "sdi_engine.service.local_pool")

log = logging.getLogger(__name__)


class LocalPool:
    """A `Pool` of processes, each started when it is needed."""

    is_local = True

    def __init__(self, processes: int, log_file: Path | None = None, command: Sequence[str] = COMMAND) -> None:
        """Make a pool, without starting a process yet.

        Args:
            processes: how many work at once; they share the processor's cores.
            log_file: gets what they print between jobs; by default this process's stderr does.
            command: starts one process; the identity of this process is appended.

        Raises:
            BadInputError: `processes` is less than 1.
        """
        check_processes(processes)
        self.capacity = processes
        self._log_file = log_file
        self._command = command
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="jobs")
        self._lock = threading.Lock()
        self._crew: list[_Process] = []
        self._idle: list[_Process] = []
        self._is_closing = False

    def submit(self, job: Path, verb: str = RUN, listener: Listener = ignore) -> Future[Outcome]:
        """Submit a job to the next free process."""
        return self._threads.submit(self._do, job, verb, listener)

    def close(self, *, pause: bool = False) -> None:
        """Wait for all jobs, or pause the running ones, and let the processes exit."""
        if not pause:
            self._threads.shutdown()
        with self._lock:
            self._is_closing = True
            crew = list(self._crew)
        self._threads.shutdown(wait=False, cancel_futures=True)  # before a process exits and frees its thread
        for process in crew:
            process.dismiss()
        deadline = time.monotonic() + LEAVING_SECONDS
        try:
            for process in crew:
                process.await_end(deadline)
        finally:  # after a second Ctrl+C, too
            for process in crew:
                process.kill()
            self._threads.shutdown()

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(pause=error is not None)

    def _do(self, job: Path, verb: str, listener: Listener) -> Outcome:
        process = self._hire()
        if process is None:
            return Outcome(errors.EXIT_CANCELLED)
        outcome = process.do(job, verb, listener)
        if outcome is None:
            return _lost(job, process, self._is_closing, listener)
        if process.is_usable:
            self._idle.append(process)
        return outcome

    def _hire(self) -> _Process | None:
        """The process that became idle last, or a new one; None if the pool is closing."""
        with self._lock:
            if self._is_closing:
                return None
            while self._idle:
                process = self._idle.pop()
                if process.exit_code is None:
                    return process
            threads = max(1, core_count() // self.capacity)
            process = _Process(self._start(threads))
            self._crew = [other for other in self._crew if other.is_usable]
            self._crew.append(process)
            return process

    def _start(self, threads: int) -> subprocess.Popen[bytes]:
        """A new process that computes with `threads` threads; raises EngineError."""
        paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            "GOMP_SPINCOUNT": worker.SPIN_COUNT,
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUTF8": "1",
        }
        # Ctrl+C must reach this process only; the new one is told to stop by `_Process.dismiss`
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        with contextlib.ExitStack() as stack:
            output = None
            if self._log_file is not None:
                with storage_errors(self._log_file.parent):
                    output = stack.enter_context(self._log_file.open("ab"))
            try:
                return subprocess.Popen(
                    [*self._command, json.dumps(processes.ourselves())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    env=environment,
                    **apart,
                )
            except OSError as error:
                raise EnvironmentMissingError(
                    f"No process could be started ({error.strerror or error}): use fewer processes."
                ) from error


def core_count() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Process:
    """The pool's side of one of its processes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._orders, self._answers = process.stdin, process.stdout
        self.is_usable = True
        """Whether it waits for a job or does one, and has not been dismissed."""

    @property
    def exit_code(self) -> int | None:
        """The process's exit code; None while it runs."""
        return self._process.poll()

    def do(self, job: Path, verb: str, listener: Listener) -> Outcome | None:
        """Do a job in the process; None if the process ended without reporting an outcome."""
        order = json.dumps({"job": str(job.absolute()), "verb": verb})
        try:
            with contextlib.suppress(OSError, ValueError):  # it has crashed, or was dismissed
                self._orders.write(f"{order}\n".encode())
                self._orders.flush()
            for line in self._answers:
                if line.startswith(b'{"outcome"'):
                    answer = json.loads(line)
                    if answer["leaves"]:
                        self._see_it_off()
                    return Outcome(**answer["outcome"])
                event = events.from_line(line.decode("utf-8", "replace"))
                if event is not None:
                    listener(event)
        except BaseException:
            self.kill()
            raise
        self._see_it_off()
        return None

    def dismiss(self) -> None:
        """Let the process save its current job and exit."""
        with contextlib.suppress(OSError):
            self._orders.close()

    def await_end(self, deadline: float) -> None:
        """Wait until the process has exited, or until the deadline (`time.monotonic`)."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._see_it_off()

    def _see_it_off(self) -> None:
        self.is_usable = False
        self.dismiss()
        self._process.wait()


def _lost(job: Path, process: _Process, is_closing: bool, listener: Listener) -> Outcome:
    """The outcome of a job whose process ended without reporting one; it is written into the job's folder too."""
    folder = JobFolder(job)
    if is_closing or is_there(folder.cancel_flag):  # it was killed because it did not stop
        return Outcome(errors.EXIT_CANCELLED)
    message = f'The process of this job ended unexpectedly (code {process.exit_code}): see "{folder.log_file}".'
    if process.exit_code == -KILLED:
        message = (
            "The process of this job was killed (SIGKILL), perhaps because memory ran out: make fewer objects at once, "
            "or close other programs, then resume the job."
        )
    for event in (events.Failed(message, CRASHED), events.StateChanged(events.FAILED)):
        with contextlib.suppress(OSError, EngineError):
            folder.append(event)
        listener(event)
    return Outcome(CRASHED, message)


class _Orders:
    """The jobs that this process reads from its pool; when they end, the current job is paused."""

    def __init__(self, source: io.FileIO) -> None:
        self._source = source
        self._jobs: queue.SimpleQueue[Mapping[str, str] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._current: JobFolder | None = None
        self._ended = False
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def __iter__(self) -> Iterator[tuple[Path, str]]:
        """The folder and the verb of each job."""
        while (order := self._jobs.get()) is not None:
            folder = JobFolder(order["job"])
            with self._lock:
                if self._ended:
                    return
                self._current = folder
            yield folder.path, order["verb"]
            with self._lock:
                self._current = None
                if self._ended:
                    folder.pause_flag.unlink(missing_ok=True)

    def _listen(self) -> None:
        for line in self._source:
            self._jobs.put(json.loads(line))
        with self._lock:
            self._ended = True
            if self._current is not None:
                with contextlib.suppress(OSError):
                    touch(self._current.pause_flag)
        self._jobs.put(None)


def follow_orders(pool: OwnProcess) -> int:
    """Run as one of a pool's processes until its input ends; returns the exit code."""
    redact_output()
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for noisy in ("httpx", "httpcore", "urllib3", "PIL", "trimesh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is for the log

    def say(line: str) -> None:
        with contextlib.suppress(OSError):  # the pool's process is gone: the job is saved all the same
            print(line, end="", file=answers, flush=True)

    # not sys.stdin: a thread that waits for its lock would not let the interpreter end
    orders = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    for job, verb in _Orders(orders):
        outcome = pool.submit(job, verb, lambda event: say(events.to_line(event))).result()
        leaves = has_to_end(outcome, job)
        say(json.dumps({"outcome": dataclasses.asdict(outcome), "leaves": leaves}) + "\n")
        if leaves:
            return outcome.exit_code
    return errors.EXIT_DONE


if __name__ == "__main__":
    raise SystemExit(follow_orders(OwnProcess(taken_by=json.loads(sys.argv[-1]))))
