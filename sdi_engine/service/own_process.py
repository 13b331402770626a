"""A pool of one: this process does the jobs one after the other, and keeps the model loaded.

In the end every pool's jobs are done by an `OwnProcess`: in the engine itself, in a process that it started, or on a
node. Imports torch only to work.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from .. import errors
from ..contract import events
from ..contract.job_folder import JobFolder
from ..contract.job_queue import RESUME, RUN, SAMPLE
from ..contract.request import JobRequest
from ..diffusion.model_index import check_prompt
from ..system.files import is_there, open_to_append
from ..system.memory import give_memory_back
from . import worker
from .keeper import KeptPrior
from .pool import CRASHED, Listener, Outcome, ignore

if TYPE_CHECKING:
    from ..diffusion.counted_prior import CountedPrior
    from ..diffusion.loading import LoadPrior
    from ..diffusion.prior import Prior

SAMPLES = 4
"""Number of pictures in a 2D preview."""

log = logging.getLogger(__name__)


class OwnProcess:
    """A `Pool` whose `submit` returns once the job is done."""

    capacity = 1
    is_local = True

    def __init__(self, load: LoadPrior | None = None, taken_by: Mapping[str, Any] | None = None) -> None:
        """Start without a model.

        Args:
            load: loads models, `load_prior` by default.
            taken_by: as in `worker.run`.
        """
        self._kept = KeptPrior(load)
        self._taken_by = taken_by

    def submit(self, job: Path, verb: str = RUN, listener: Listener = ignore) -> Future[Outcome]:
        """Do a job now; whatever is printed meanwhile goes into its log."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        with _printing_into(JobFolder(job).log_file):
            outcome = self.do(job, verb, listener)
        future.set_result(outcome)
        return future

    def do(self, job: Path, verb: str = RUN, listener: Listener = ignore) -> Outcome:
        """Do a job; returns its outcome."""
        costs = _Costs(self._kept.load)

        def hear(event: events.Event) -> None:
            costs.hear(event)
            listener(event)

        work = _sample if verb == SAMPLE else worker.make_mesh
        code = worker.run(
            job,
            resume=verb == RESUME,
            listener=hear,
            work=functools.partial(work, load=costs.load),
            taken_by=self._taken_by,
        )
        outcome = costs.outcome(code)
        costs.forget()
        if code == errors.EXIT_OUT_OF_MEMORY:
            self._kept.forget()
        else:
            self._kept.free_text_encoders()
            give_memory_back()
        return outcome

    def close(self, *, pause: bool = False) -> None:
        """Free the model's memory; no job runs at this point."""
        self._kept.forget()

    def __enter__(self) -> OwnProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(pause=error is not None)


def has_to_end(outcome: Outcome, job: Path) -> bool:
    """Whether this process has to end after a job: it was told to, not the job alone, or has lost its graphics card."""
    return _was_interrupted(outcome, job) or (outcome.exit_code == CRASHED and _has_lost_its_card())


def _has_lost_its_card() -> bool:
    """Whether the graphics card answers this process only with errors from now on, so that all jobs would fail.

    So it is after many a failed kernel or sleep of the computer: CUDA says of these errors that the process has to be
    started anew. A card that it never used is not asked.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        log.error("The graphics card does not answer this process any more, which ends: %s", error)
        return True
    return False


def _was_interrupted(outcome: Outcome, job: Path) -> bool:
    """Whether a job ended because its process was told to end (Ctrl+C, SIGTERM), not just the job."""
    folder = JobFolder(job)
    stopped = is_there(folder.cancel_flag) or is_there(folder.pause_flag)
    return outcome.exit_code == errors.EXIT_CANCELLED and not stopped


def _sample(folder: JobFolder, request: JobRequest, resume: bool, report: Listener, load: LoadPrior) -> None:
    check_prompt(request.prompt, request.model)
    with worker.torch_work():
        from ..run.listening import listening
        from ..studies.sampling import sample

        def report_or_stop(event: events.Event) -> None:
            report(event)
            folder.stop_if_told()

        with listening(folder.stop_if_told):
            sample(request, folder.path, report_or_stop, SAMPLES, load)


class _Costs:
    """Measures what a job costs, from its model and its events."""

    def __init__(self, load: LoadPrior) -> None:
        self._load = load
        self._prior: CountedPrior | None = None
        self._started = time.perf_counter()
        self._load_seconds = 0.0
        self._optimised_at: float | None = None
        self._error = ""

    def load(self, *asked: Any) -> Prior:
        """A `LoadPrior` as that of before, with all that it is asked."""
        from ..diffusion.counted_prior import CountedPrior

        start = time.perf_counter()
        self._prior = CountedPrior(self._load(*asked))
        self._load_seconds += time.perf_counter() - start
        return self._prior

    def hear(self, event: events.Event) -> None:
        if isinstance(event, events.Failed):
            self._error = event.message
        elif isinstance(event, events.StateChanged):
            # if no surface can be extracted, the optimisation starts anew
            if event.state == events.EXPORTING:
                self._optimised_at = time.perf_counter()
            elif event.state == events.RUNNING:
                self._optimised_at = None

    def outcome(self, exit_code: int) -> Outcome:
        """The outcome of the job, which has just ended."""
        now = time.perf_counter()
        spent = self._started + self._load_seconds
        return Outcome(
            exit_code=exit_code,
            error=self._error,
            seconds=round(now - spent, 3),
            optimise_seconds=round((self._optimised_at or now) - spent, 3),
            load_seconds=round(self._load_seconds, 3),
            model_evaluations=self._prior.evaluations if self._prior is not None else 0,
        )

    def forget(self) -> None:
        """Drop the reference to the model."""
        self._prior = None


@contextmanager
def _printing_into(file: Path) -> Iterator[None]:
    """Redirect all output of this process into a file, including that of libraries not written in Python."""
    with ExitStack() as stack:
        try:
            output = stack.enter_context(open_to_append(file))
        except OSError as error:  # the job itself reports a full disk
            log.warning("%s cannot be written: %s", file, error)
            yield
            return
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
            before = os.dup(stream.fileno())
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, stream.fileno())
            stack.callback(_flush, stream)
            os.dup2(output.fileno(), stream.fileno())
        yield


def _flush(stream: TextIO) -> None:
    """Write what a stream has kept back, unless its disk is full: that ends one job, not the engine with all others."""
    with suppress(OSError):
        stream.flush()
