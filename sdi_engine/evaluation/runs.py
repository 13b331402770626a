"""The jobs of an evaluation, done by a pool, and what became of each over all the times that it was gone on with.

That stands in a job's folder in `run.json` (`Record`).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

from .. import errors
from ..contract import events
from ..contract.job_folder import JobFolder, storage_errors
from ..contract.job_queue import RESUME, RUN
from ..errors import EngineError, EnvironmentMissingError, StorageError
from ..service.pool import Outcome, Pool
from ..system.files import read_json_object, write_atomically
from .plan import Job

JOBS_FOLDER = "jobs"
LOG_FILE = "log.txt"
RECORD_FILE = "run.json"

LOOK_SECONDS = 0.2

HOPELESS: dict[int, type[EngineError]] = {
    errors.EXIT_ENVIRONMENT: EnvironmentMissingError,
    errors.EXIT_STORAGE: StorageError,
}
"""Ends of a job after which all others would end in the same way."""


@dataclass(frozen=True)
class Record(Outcome):
    """What became of a job, and what it cost over all the times that it was gone on with, those in vain too."""

    @property
    def is_final(self) -> bool:
        """Whether nothing is to be done any more, for better or worse."""
        return self.exit_code != errors.EXIT_CANCELLED and self.exit_code not in HOPELESS

    @classmethod
    def of(cls, path: Path) -> Record | None:
        """What stands in a job folder; None where nothing does."""
        try:
            return cls(**read_json_object(path / RECORD_FILE) or {})
        except TypeError:
            return None

    def after(self, outcome: Outcome) -> Record:
        """The record of a job that was gone on with."""
        return Record(
            exit_code=outcome.exit_code,
            error=outcome.error,
            seconds=round(self.seconds + outcome.seconds, 3),
            optimise_seconds=round(self.optimise_seconds + outcome.optimise_seconds, 3),
            load_seconds=round(self.load_seconds + outcome.load_seconds, 3),
            model_evaluations=self.model_evaluations + outcome.model_evaluations,
        )

    def save(self, path: Path) -> None:
        """Write it into a job folder; raises StorageError."""
        with storage_errors(path):
            write_atomically(path / RECORD_FILE, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def run_jobs(folder: Path, jobs: Sequence[Job], pool: Pool, report: Callable[[events.Event], None]) -> None:
    """Do those jobs that are not done, in their order; a job that fails is done too.

    Args:
        folder: of the evaluation.
        pool: does them. Where this raises, some are still at work, until the pool is closed.
        report: is told how far it is.

    Raises:
        EngineError: no job can be done, because of the machine.
        KeyboardInterrupt: somebody has stopped it.
    """
    waiting = [job for job in jobs if not _is_done(folder / JOBS_FOLDER / job.key)]
    for job in waiting:
        _prepare(folder / JOBS_FOLDER / job.key, job)
    if not waiting:
        return
    at_work = {_submit(pool, folder / JOBS_FOLDER / job.key): job for job in waiting}
    try:
        _await(folder, len(jobs) - len(waiting), len(jobs), at_work, report)
    except BaseException:
        for future, job in at_work.items():
            future.cancel()
            future.add_done_callback(lambda future, path=folder / JOBS_FOLDER / job.key: _keep_paused(path, future))
        raise


def keep_record(path: Path, outcome: Outcome) -> Record:
    """Write down what became of a job in its folder; one that is done keeps no more there than is of use.

    Raises:
        StorageError: it cannot be written.
    """
    before = Record.of(path)
    record = (before or Record(outcome.exit_code)).after(outcome)
    if record.is_final:
        folder = JobFolder(path)
        for heavy in (folder.checkpoint_folder, folder.previews_folder, folder.turntable_folder):
            shutil.rmtree(heavy, ignore_errors=True)
    record.save(path)
    return record


def _submit(pool: Pool, path: Path) -> Future[Outcome]:
    return pool.submit(path, RUN if Record.of(path) is None else RESUME)


def _await(
    folder: Path,
    done: int,
    total: int,
    at_work: dict[Future[Outcome], Job],
    report: Callable[[events.Event], None],
) -> None:
    start, first = time.monotonic(), done
    report(events.Progress("Making objects", done, total))
    while at_work:
        # in small bites, so that Ctrl+C is heard on Windows too
        for future in wait(at_work, LOOK_SECONDS, FIRST_COMPLETED).done:
            job = at_work.pop(future)
            record = keep_record(folder / JOBS_FOLDER / job.key, future.result())
            if record.exit_code in HOPELESS:
                raise HOPELESS[record.exit_code](record.error)
            if not record.is_final:
                raise KeyboardInterrupt  # somebody has stopped the process that did it
            if record.error:
                report(events.Notice(f'"{job.key}" failed: {record.error}'))
            done += 1
            rate = (done - first) / (time.monotonic() - start)
            report(events.Progress("Making objects", done, total, rate, (total - done) / rate))


def _keep_paused(path: Path, future: Future[Outcome]) -> None:
    """The record of a job whose evaluation was stopped."""
    if not future.cancelled() and future.exception() is None:
        keep_record(path, future.result())


def _is_done(path: Path) -> bool:
    record = Record.of(path)
    return record is not None and record.is_final


def _prepare(path: Path, job: Job) -> None:
    """A job folder that can be begun or gone on with; one of ours that was hardly begun is made anew."""
    if Record.of(path) is None:
        if JobFolder(path).request_file.is_file():
            shutil.rmtree(path, ignore_errors=True)
        JobFolder.create(path, job.request)
