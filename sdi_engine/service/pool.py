"""The interface of a pool: jobs in, outcomes out, whether this process, several on this machine or a cluster do them.

It separates those that have jobs (`serve`, `evaluate`) from those that do them (`OwnProcess`, `LocalPool`,
`ClusterPool`), in the style of `concurrent.futures`.
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
"""The exit code of a job whose process ended without reporting an outcome."""

Listener = Callable[[events.Event], None]


def ignore(event: events.Event) -> None:
    """A listener that does nothing."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended and what it cost, for one submission.

    Attributes:
        exit_code: of `sdi_engine.errors`; `EXIT_CANCELLED` if it was cancelled or paused.
        error: one sentence if it failed, else empty.
        seconds: wall-clock time of all its work except loading the model.
        optimise_seconds: the part of `seconds` before the surface was extracted.
        load_seconds: wall-clock time of loading the model; mostly 0, since models stay loaded.
        model_evaluations: number of images that the 2D model evaluated; guidance by eq. (3) takes two each.
    """

    exit_code: int
    error: str = ""
    seconds: float = 0.0
    optimise_seconds: float = 0.0
    load_seconds: float = 0.0
    model_evaluations: int = 0


class Pool(Protocol):
    """Does jobs, `capacity` of them at once, in the order in which they were submitted.

    A context manager that closes the pool at its end; after an exception, such as Ctrl+C, running jobs are paused.
    """

    @property
    def capacity(self) -> int:
        """How many jobs run at once."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether the jobs run on this computer; whoever submits them must then hold its `Device`."""
        ...

    def submit(self, job: Path, verb: str = RUN, listener: Listener = ignore) -> Future[Outcome]:
        """Submit a job.

        Args:
            job: its folder on this machine, with its `request.json`. Every pool writes the same files into it
                (`contract.job_folder`), and obeys the flags put into it.
            verb: `RUN`, `RESUME` or `SAMPLE` of `contract.job_queue`.
            listener: called with every event of the job, in order, possibly in another thread.

        Returns:
            A future of the outcome, which a job also has if it fails, is cancelled, or its process crashes. If the
            future raises an `EngineError`, the pool cannot do any job. A pool may do the job before it returns.
        """
        ...

    def close(self, *, pause: bool = False) -> None:
        """Wait for all jobs; with `pause`, let running jobs save their state and stop, and cancel the others.

        The outcome of a paused job is `EXIT_CANCELLED`; the verb `RESUME` continues it.
        """
        ...

    def __enter__(self) -> Pool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_processes(processes: int) -> None:
    """Raise BadInputError for a number of processes below 1."""
    if processes < 1:
        raise BadInputError(f'The setting "processes" is {processes}: it must be at least 1.')
