"""Does an evaluation's jobs in a pool, and records in each job's folder, in `run.json`, how it ended and its cost."""

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
from ..surface.source import write_source
from ..system.files import read_json_object, write_atomically
from .painting import unpainted_thing
from .plan import Job

JOBS_FOLDER = "jobs"
LOG_FILE = "log.txt"
RECORD_FILE = "run.json"

POLL_SECONDS = 0.2

HOPELESS: dict[int, type[EngineError]] = {
    errors.EXIT_ENVIRONMENT: EnvironmentMissingError,
    errors.EXIT_STORAGE: StorageError,
}
"""The error of each exit code after which all other jobs would fail in the same way."""


@dataclass(frozen=True)
class Record(Outcome):
    """How a job ended, and its cost, which includes all earlier attempts that it was resumed from."""

    @property
    def is_final(self) -> bool:
        """Whether the job is done or has failed for good, so that it is not run again."""
        return self.exit_code != errors.EXIT_CANCELLED and self.exit_code not in HOPELESS

    @classmethod
    def of(cls, path: Path) -> Record | None:
        """The record in a job folder; None if there is none or it cannot be read."""
        try:
            return cls(**read_json_object(path / RECORD_FILE) or {})
        except TypeError:
            return None

    def after(self, outcome: Outcome) -> Record:
        """This record with the outcome of another attempt: its end, and its cost added to that of the earlier ones."""
        return Record(
            exit_code=outcome.exit_code,
            error=outcome.error,
            seconds=round(self.seconds + outcome.seconds, 3),
            optimise_seconds=round(self.optimise_seconds + outcome.optimise_seconds, 3),
            load_seconds=round(self.load_seconds + outcome.load_seconds, 3),
            model_evaluations=self.model_evaluations + outcome.model_evaluations,
        )

    def save(self, path: Path) -> None:
        """Write the record into a job folder; raises StorageError."""
        with storage_errors(path):
            write_atomically(path / RECORD_FILE, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def run_jobs(folder: Path, jobs: Sequence[Job], pool: Pool, report: Callable[[events.Event], None]) -> None:
    """Do those jobs that are not done yet, in order; one that failed for good counts as done.

    Args:
        folder: of the evaluation.
        jobs: all of them; done ones count in the progress.
        pool: does the jobs. After an error some are still running until the pool is closed.
        report: gets the progress and notices of failures.

    Raises:
        EngineError: no job can be done on this machine.
        KeyboardInterrupt: it was stopped.
    """
    waiting = [job for job in jobs if not _is_done(folder / JOBS_FOLDER / job.key)]
    for job in waiting:
        _prepare(folder / JOBS_FOLDER / job.key, job)
    if not waiting:
        return
    running = {_submit(pool, folder / JOBS_FOLDER / job.key): job for job in waiting}
    try:
        _await(folder, len(jobs) - len(waiting), len(jobs), running, report)
    except BaseException:
        for future, job in running.items():
            future.cancel()
            future.add_done_callback(lambda future, path=folder / JOBS_FOLDER / job.key: _keep_paused(path, future))
        raise


def keep_record(path: Path, outcome: Outcome) -> Record:
    """Record how a job ended in its folder; checkpoint and previews of a finished job are deleted.

    Raises:
        StorageError: the record cannot be written.
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
    running: dict[Future[Outcome], Job],
    report: Callable[[events.Event], None],
) -> None:
    start, first = time.monotonic(), done
    report(events.Progress("Making objects", done, total))
    while running:
        # with a timeout, so that Ctrl+C is noticed on Windows too
        for future in wait(running, POLL_SECONDS, FIRST_COMPLETED).done:
            job = running.pop(future)
            record = keep_record(folder / JOBS_FOLDER / job.key, future.result())
            if record.exit_code in HOPELESS:
                raise HOPELESS[record.exit_code](record.error)
            if not record.is_final:
                raise KeyboardInterrupt  # the process that did it was stopped
            if record.error:
                report(events.Notice(f'"{job.key}" failed: {record.error}'))
            done += 1
            rate = (done - first) / (time.monotonic() - start)
            report(events.Progress("Making objects", done, total, rate, (total - done) / rate))


def _keep_paused(path: Path, future: Future[Outcome]) -> None:
    """Record the job of a stopped evaluation, so that it can be resumed."""
    if not future.cancelled() and future.exception() is None:
        keep_record(path, future.result())


def _is_done(path: Path) -> bool:
    record = Record.of(path)
    return record is not None and record.is_final


def _prepare(path: Path, job: Job) -> None:
    """Make a job folder that can be run or resumed; one that was created but never recorded is made anew."""
    if Record.of(path) is None:
        if JobFolder(path).request_file.is_file():
            shutil.rmtree(path, ignore_errors=True)
        folder = JobFolder.create(path, job.request)
        if job.request.task == "texture":
            with storage_errors(path):
                write_source(folder.source_file, unpainted_thing(job.prompt, job.seed))
