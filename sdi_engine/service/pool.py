"""Requests in, outcomes out, whoever does the work: this process, several on this machine, or a cluster.

The seam between those who have jobs (`serve`, `evaluate`) and those who do them (`OwnProcess`, `LocalPool`,
`ClusterPool`), in the spirit of `concurrent.futures`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from ..contract import events
from ..contract.job_queue import RUN
from ..errors import BadInputError

CRASHED = 1
"""The exit code of a job whose process ended without a word."""

Listener = Callable[[events.Event], None]


def ignore(event: events.Event) -> None:
    """A listener for those who need none."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job, and what it cost, the one time that it was submitted.

    Attributes:
        exit_code: `sdi_engine.errors`; `EXIT_CANCELLED` where it was cancelled or paused.
        error: the sentence of one that failed.
        seconds: of all its work but for loading the model.
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


class Pool(Protocol):
    """Does jobs, `capacity` of them at once and the others in the order in which they were submitted.

    A context manager: its end closes the pool; where an exception ends it (Ctrl+C, say), what runs is paused.
    """

    @property
    def capacity(self) -> int:
        """How many jobs are done at once."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether the work is done on this computer: who lets it be done has its `Device` meanwhile."""
        ...

    def submit(self, job: Path, verb: str = RUN, listener: Listener = ignore) -> Future[Outcome]:
        """Let a job be done.

        Args:
            job: its folder on this machine, with its `request.json`. Whoever does the work, the same files appear in
                it (`contract.job_folder`), and the flags that somebody puts into it are heeded.
            verb: `RUN`, `RESUME` or `SAMPLE` of `contract.job_queue`.
            listener: is told every event of the job, in its order, perhaps in another thread.

        Returns:
            What becomes of it. A job that fails, is cancelled, or whose process crashes has an outcome, too; an
            `EngineError` as the exception says that the pool can do no job. A pool may do the job before it returns.
        """
        ...

    def close(self, *, pause: bool = False) -> None:
        """Wait for all jobs; with `pause`, let those that run save what they have and leave, and cancel the others.

        What was paused has `EXIT_CANCELLED` for its outcome, and goes on with the verb `RESUME`.
        """
        ...

    def __enter__(self) -> Pool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_processes(processes: int) -> None:
    """Raise BadInputError where so many cannot be."""
    if processes < 1:
        raise BadInputError(f'The setting "processes" is {processes}: it must be at least 1.')
