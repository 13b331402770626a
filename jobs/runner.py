"""The jobs of a results folder, and the engine that does them one after the other: submit, watch, stop, go on.

Standard library only; Blender's window calls `poll` from a timer, Blender in the background from a loop.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..sdi_engine.contract.job_folder import JobFolder, storage_errors
from ..sdi_engine.contract.job_queue import RESUME, SAMPLE, JobQueue, Ticket
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import EXIT_ENVIRONMENT
from ..sdi_engine.system import processes
from ..sdi_engine.system.files import is_folder, touch
from .engine import Engine
from .engine_process import EngineProcess
from .guard import Guard
from .job import Job

FindEngine = Callable[[], Engine]


class Runner:
    """Attributes:
    results: the folder of the job folders.
    idle_minutes: how long an engine that has nothing to do stays.
    queue: the jobs that wait, and what the engine says of itself.
    waiting: those of the last `poll`, the next one first.
    is_held: whether the engine takes no jobs, as of the last `poll`.
    engine: what the engine said of itself at the last `poll`; None where none serves the queue.
    jobs: by name, all that are not over.
    given_up: by name, those that are over only because nothing is heard of their engine on another machine.
    """

    def __init__(self, results: Path, idle_minutes: float = 10.0) -> None:
        self.results = results
        self.idle_minutes = idle_minutes
        self.queue = JobQueue(results)
        self.waiting: list[Ticket] = []
        self.is_held = False
        self.engine: dict[str, Any] | None = None
        self.jobs: dict[str, Job] = {}
        self.given_up: dict[str, Job] = {}
        self._process = EngineProcess(self.queue)
        self._guarded = Guard()

    @property
    def trouble(self) -> str:
        """Why no engine can be started; empty where nothing is known against it."""
        return self._process.trouble

    @property
    def current(self) -> Job | None:
        """The job that our engine is at, or one elsewhere; None where none is at any of which we know."""
        at = next((name for name in (self.engine or {}).get("jobs", ()) if name in self.jobs), None)
        if at is not None:
            return self.jobs[at]
        names = {ticket.name for ticket in self.waiting}
        return next((job for name, job in self.jobs.items() if name not in names), None)

    @property
    def is_busy(self) -> bool:
        """Whether there is a job that is not over."""
        return bool(self.jobs)

    def create(self, request: JobRequest) -> Job:
        """A job with a folder, which does not wait for its turn yet.

        Raises:
            EngineError: the request is not valid, or the folder cannot be made.
        """
        return Job.create(self.results, request)

    def submit(self, job: Job, *, first: bool = False) -> None:
        """Let a created job wait for its turn; raises StorageError."""
        with storage_errors(self.results):
            self.queue.add(job.name, first=first)
        self._begin_to_watch(job)

    def submit_all(self, jobs: Sequence[Job]) -> None:
        """Let created jobs wait for their turns; each is in `jobs` as soon as it waits. Raises StorageError."""
        by_name = {job.name: job for job in jobs}
        try:
            with storage_errors(self.results):
                for name in self.queue.add_all(list(by_name)):
                    self.jobs[name] = by_name[name]
        finally:
            self._look_at_the_queue()

    def sample(self, request: JobRequest) -> Job:
        """Let the 2D model show what it makes of a prompt, as the next job of all; earlier pictures are removed.

        Raises:
            EngineError: the request is not valid, or the folder cannot be made.
        """
        with storage_errors(self.results):
            self.queue.make_folders()
            self._remove_old_previews_2d()
        job = Job.create(self.queue.samples_folder, request, prefix="look-")
        with storage_errors(self.results):
            self.queue.add(job.name, SAMPLE, first=True)
        self._begin_to_watch(job)
        return job

    def resume(self, job: Job) -> None:
        """Let a job that is over go on from its last checkpoint, as the next one of all; raises StorageError."""
        with storage_errors(self.results):
            job.wait_again()
            self.queue.release()
            self.queue.add(job.name, RESUME, first=True)
        self._begin_to_watch(job)

    def cancel(self, job: Job) -> None:
        """Stop a job, or take it from the queue; raises StorageError."""
        with storage_errors(self.results):
            if self.queue.remove(job.name):
                job.withdraw()
            else:
                job.cancel()
        self._sort_out()

    def cancel_waiting(self) -> list[Job]:
        """Take all jobs from the queue that nobody is at, and are watched here; those, which are to be withdrawn yet.

        Raises:
            StorageError: the queue cannot be written.
        """
        with storage_errors(self.results):
            names = self.queue.remove_all(self.jobs)
        self._look_at_the_queue()
        return [self.jobs.pop(name) for name in names]

    def give_up(self, job: Job) -> None:
        """Let a waiting job fail for the reason why no engine can be started; raises StorageError."""
        with storage_errors(self.results):
            self.queue.remove(job.name)
        job.give_up(self.trouble, EXIT_ENVIRONMENT)
        self._sort_out()

    def pause(self, job: Job) -> None:
        """Stop the job for now, and let our engine free its memory; nothing runs until `go_on`. Raises StorageError."""
        if not job.elsewhere:
            with storage_errors(self.results):
                self.queue.hold()
        job.pause()

    def use(self, engine: Engine) -> None:
        """Let this engine do the next job: another one that serves leaves before it. Raises StorageError."""
        with storage_errors(self.results):
            status = self.queue.status()
            if status is not None and not engine.identity().is_that_of(status):
                touch(self.queue.leave_flag)
            self.queue.dismiss_earlier_version()

    def run_here(self, job: Job) -> None:
        """Let a job have its turn here that waits from elsewhere; raises StorageError."""
        ticket = self.ticket_from_elsewhere(job.name)
        if ticket is None:
            return
        with storage_errors(self.results):
            self.queue.add(job.name, ticket.verb)
        self._begin_to_watch(job)

    def ticket_from_elsewhere(self, name: str) -> Ticket | None:
        """The ticket of a job that waits, as of the last look, but not for an engine of ours."""
        return next((ticket for ticket in self.waiting if ticket.name == name and not ticket.is_ours), None)

    def go_on(self) -> None:
        """End the hold that `pause` brought, and try to start the engine where that failed; raises StorageError."""
        with storage_errors(self.results):
            self.queue.release()
        self._process.try_again()

    def try_again(self) -> None:
        """Start the engine where that failed before: something may have been done about it."""
        self._process.try_again()

    def free_memory(self) -> None:
        """Let the engine leave as soon as no job is running; raises StorageError."""
        with storage_errors(self.results):
            self.queue.make_folders()
            touch(self.queue.leave_flag)

    def close(self) -> None:
        """Let the engine leave when it has done what waits, where it was started here."""
        if self._process.is_alive:
            self.free_memory()

    def watch(self, jobs: Iterable[Job]) -> None:
        """Watch jobs that somebody else began."""
        for job in jobs:
            if not job.is_over:
                self.jobs.setdefault(job.name, job)

    def poll(self, find_engine: FindEngine) -> list[Job]:
        """Look once; the jobs of which there is news. `find_engine` is asked where it matters which engine serves.

        Raises:
            OSError: the results folder cannot be read, or is not there: that is no news of any job.
        """
        waiting = self.queue.waiting()
        if self.jobs and not self.queue.folder.exists():  # asked after the queue was read, which is empty then
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.results))
        self.waiting = waiting
        self.is_held = self.queue.is_held
        self.engine = self.queue.status()
        self._process.poll(self.engine is not None)
        names = {ticket.name for ticket in self.waiting}
        watched = [*self.jobs.items(), *self.given_up.items()]
        changed = [job for name, job in watched if self._poll(job, name in names)]
        changed += self._give_up_deleted()
        self._sort_out()
        self._see_to_the_engine(find_engine)
        return changed

    def _poll(self, job: Job, waits: bool) -> bool:
        with self._guarded(f'The job "{job.name}"'):
            return job.poll(waits, self._process.exit_code)
        return False

    def _see_to_the_engine(self, find_engine: FindEngine) -> None:
        """Start one where a job of ours waits for it; let one leave that is not as the next job's Blender wants it."""
        ticket = next((ticket for ticket in self.waiting if ticket.is_ours), None)
        if ticket is None or self.is_held:
            return
        if self.engine is not None:
            others = not processes.is_ourselves(ticket.author) and processes.runs(ticket.author)
            if not others and not find_engine().identity().is_that_of(self.engine):
                touch(self.queue.leave_flag)
        elif not self.trouble and not self._process.is_starting:
            self._process.start(find_engine(), self.idle_minutes)

    def _give_up_deleted(self) -> list[Job]:
        """Those of the waiting jobs whose folder was deleted: nobody can take their tickets any more."""
        names = {ticket.name for ticket in self.waiting if not ticket.is_ours}
        deleted = [job for name, job in self.jobs.items() if name in names and job.is_deleted()]
        for job in deleted:
            self.queue.remove(job.name)
            job.poll(waits=False)
        return deleted

    def _remove_old_previews_2d(self) -> None:
        """But not those that another Blender of this person waits for."""
        status = self.queue.status() or {}
        wanted = {ticket.name for ticket in self.queue.waiting()} | set(status.get("jobs", ()))
        looks = self.queue.samples_folder
        for folder in looks.iterdir() if is_folder(looks) else ():
            if folder.name not in wanted and is_folder(folder):
                with suppress(OSError):  # what cannot be removed now is removed the next time
                    JobFolder(folder).remove()

    def _begin_to_watch(self, job: Job) -> None:
        self.jobs[job.name] = job
        self._look_at_the_queue()

    def _look_at_the_queue(self) -> None:
        with storage_errors(self.results):
            self.waiting = self.queue.waiting()
        self._process.try_again()

    def _sort_out(self) -> None:
        """Watch what is not over, and from afar what may not be."""
        watched = {**self.given_up, **self.jobs}
        self.jobs = {name: job for name, job in watched.items() if not job.is_over}
        self.given_up = {name: job for name, job in watched.items() if job.is_given_up}
