"""The jobs of a results folder, and the engine that does them: submit, watch, stop, resume.

Standard library only. With a window Blender calls `poll` from a timer, in the background from a loop.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import JobFolder, storage_errors
from ..sdi_engine.contract.job_queue import RESUME, SAMPLE, JobQueue, Ticket
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.system import processes
from ..sdi_engine.system.files import is_folder, is_there, names_in, touch
from .engine import Engine
from .engine_process import EngineProcess
from .guard import Guard
from .job import Job

FindEngine = Callable[[], Engine]


class Runner:
    """Attributes:
    results: the folder that contains the job folders.
    idle_minutes: how long an idle engine keeps running.
    queue: the waiting jobs, and the engine's status.
    waiting: the waiting jobs as of the last `poll`, the next one first.
    is_held: whether the engine takes no jobs, as of the last `poll`.
    engine: the engine's status as of the last `poll`; None if none serves the queue.
    jobs: all jobs that are not over, by name.
    given_up: jobs that count as over only because their engine on another machine has fallen silent, by name.
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
        """Why no engine can be started, as one sentence; empty if it is not known to be impossible."""
        return self._process.trouble

    @property
    def waits_for_another_engine(self) -> bool:
        """Whether this machine's engine takes its next job once another one has finished its own."""
        return (self.engine or {}).get("waits") is True

    @property
    def current(self) -> Job | None:
        """The job that this machine's engine works on, or else one that an engine elsewhere works on; or None."""
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
        """A new job with a folder, not queued yet.

        Raises:
            EngineError: the request is not valid, or the folder cannot be made.
        """
        return Job.create(self.results, request)

    def submit(self, job: Job, *, first: bool = False) -> None:
        """Queue a created job, with `first` before all others; raises StorageError."""
        with storage_errors(self.results):
            self.queue.add(job.name, first=first)
        self._begin_to_watch(job)

    def submit_all(self, jobs: Sequence[Job]) -> None:
        """Queue created jobs; each is in `jobs` as soon as it is queued. Raises StorageError."""
        by_name = {job.name: job for job in jobs}
        try:
            with storage_errors(self.results):
                for name in self.queue.add_all(list(by_name)):
                    self.jobs[name] = by_name[name]
        finally:
            self._read_queue()

    def sample(self, request: JobRequest) -> Job:
        """Queue a 2D preview of a request before all other jobs; earlier previews are removed.

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
        """Queue a stopped or failed job before all others, to resume from its last checkpoint.

        Raises:
            BadInputError: an engine is at it already.
            StorageError: its folder or the queue cannot be written.
        """
        job.refuse_at_work()
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
        self._sort_jobs()

    def cancel_waiting(self) -> Iterator[Job]:
        """Remove all watched jobs from the queue that no engine has taken; the caller must withdraw those yielded, also
        where this ends with an error.

        Raises:
            StorageError: the queue cannot be written.
        """
        with storage_errors(self.results):
            for name in self.queue.remove_all(set(self.jobs)):
                if name in self.jobs:  # or it had two tickets
                    yield self.jobs.pop(name)
        self._read_queue()

    def give_up(self, job: Job) -> None:
        """Let a waiting job fail because no engine can be started (`trouble`); raises StorageError."""
        with storage_errors(self.results):
            self.queue.remove(job.name)
        job.give_up(self.trouble, self._process.trouble_code)
        self._sort_jobs()

    def pause(self, job: Job) -> None:
        """Pause a job. If this machine's engine works on no other, the engine ends, which frees memory.

        No job runs then until `go_on`. Otherwise the other jobs continue, and the next one in the queue begins.

        Raises:
            StorageError: the queue or the job's folder cannot be written.
        """
        if not job.elsewhere and not self._works_without(job):
            with storage_errors(self.results):
                self.queue.hold()
        self.set_aside(job)

    def set_aside(self, job: Job) -> None:
        """Pause a job while the engine continues with others; raises StorageError."""
        with storage_errors(self.results):
            if self.queue.remove(job.name):
                job.withdraw(events.PAUSED)
            else:
                job.pause()
        self._sort_jobs()

    def use(self, engine: Engine) -> None:
        """Make `engine` do the next job: one with other settings ends before that.

        Raises:
            BadInputError: no engine can start with these settings.
            StorageError: the queue cannot be written.
        """
        engine.check()
        with storage_errors(self.results):
            status = self.queue.status()
            if status is not None and not engine.identity().is_that_of(status):
                touch(self.queue.leave_flag)
            self.queue.dismiss_earlier_version()

    def run_here(self, job: Job) -> None:
        """Queue a job for this machine's engine that waits for one elsewhere; raises StorageError."""
        ticket = self.ticket_from_elsewhere(job.name)
        if ticket is None:
            return
        with storage_errors(self.results):
            self.queue.add(job.name, ticket.verb)
        self._begin_to_watch(job)

    def ticket_from_elsewhere(self, name: str) -> Ticket | None:
        """The ticket of a job that waits, as of the last poll, for the engine of another person or machine; or None."""
        return next((ticket for ticket in self.waiting if ticket.name == name and not ticket.is_ours), None)

    def go_on(self) -> None:
        """Let jobs run again after `pause`, and try again to start an engine that failed to; raises StorageError."""
        with storage_errors(self.results):
            self.queue.release()
        self._process.try_again()

    def try_again(self) -> None:
        """Try again to start an engine that failed to start: the cause may have been removed."""
        self._process.try_again()

    def free_memory(self) -> None:
        """Let the engine end as soon as no job is running; raises StorageError."""
        with storage_errors(self.results):
            self.queue.make_folders()
            touch(self.queue.leave_flag)

    def close(self) -> None:
        """Let the engine end once the queue is empty, if it was started here."""
        if self._process.is_alive:
            self.free_memory()

    def watch(self, jobs: Iterable[Job]) -> None:
        """Watch jobs that another Blender submitted."""
        for job in jobs:
            if not job.is_over:
                self.jobs.setdefault(job.name, job)

    def poll(self, find_engine: FindEngine) -> list[Job]:
        """Read the queue and all watched jobs once; returns the jobs that have changed.

        Args:
            find_engine: returns the engine to use; called if one must be started or checked.

        Raises:
            OSError: the results folder cannot be read, or is missing but not deleted, as far as is known, which says
                nothing about the jobs.
        """
        waiting = self.queue.waiting()
        if self.jobs and not self.queue.folder.exists():  # checked after reading, since a missing queue reads as empty
            sure = [job for job in self.jobs.values() if job.is_deleted() or is_there(job.folder.path)]
            if not sure:  # where a job is there, or was deleted, so is the drive, and somebody has deleted the queue
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.results))
        self.waiting = waiting
        self.is_held = self.queue.is_held
        self.engine = self.queue.status()
        self._process.poll(self.engine is not None)
        names = {ticket.name for ticket in self.waiting}
        watched = [*self.jobs.items(), *self.given_up.items()]
        changed = [job for name, job in watched if self._poll(job, name in names)]
        changed += self._give_up_deleted()
        self._sort_jobs()
        self._manage_engine(find_engine)
        return changed

    def _poll(self, job: Job, waits: bool) -> bool:
        with self._guarded(f'The job "{job.name}"'):
            return job.poll(waits, self._process.code_at_its_end)
        return False

    def _manage_engine(self, find_engine: FindEngine) -> None:
        """Start an engine if a job of ours waits; end one whose settings are not those for the next job."""
        ticket = next((ticket for ticket in self.waiting if ticket.is_ours), None)
        if ticket is None or self.is_held:
            return
        if self.engine is not None:
            others = not processes.is_ourselves(ticket.author) and processes.runs(ticket.author)
            if not others and not find_engine().identity().is_that_of(self.engine):
                touch(self.queue.leave_flag)
        elif not self.trouble:
            engine = find_engine()
            self._process.end_if_other_than(engine)
            if not self._process.is_starting:
                self._process.start(engine, self.idle_minutes)

    def _works_without(self, job: Job) -> bool:
        """Whether this machine's engine stays busy when the job is paused, or has no memory here to free."""
        engine = self.queue.status() or {}
        others = [self.jobs.get(name) for name in engine.get("jobs", ()) if name != job.name]
        is_on_cluster = isinstance(engine.get("engine"), dict) and bool(engine["engine"].get("cluster"))
        return is_on_cluster or any(other is None or not other.is_pausing for other in others)

    def _give_up_deleted(self) -> list[Job]:
        """Give up waiting jobs whose folder was deleted, and remove their tickets, which no engine can take."""
        names = {ticket.name for ticket in self.waiting if not ticket.is_ours}
        deleted = [job for name, job in self.jobs.items() if name in names and job.is_deleted()]
        for job in deleted:
            self.queue.remove(job.name)
            job.poll(waits=False)
        return deleted

    def _remove_old_previews_2d(self) -> None:
        """Remove 2D previews, except those that another Blender of this person waits for."""
        status = self.queue.status() or {}
        wanted = {ticket.name for ticket in self.queue.waiting()} | set(status.get("jobs", ()))
        samples = self.queue.samples_folder
        for name in names_in(samples) if is_folder(samples) else ():
            if name not in wanted and is_folder(samples / name):
                with suppress(OSError):  # it is removed the next time
                    JobFolder(samples / name).remove()

    def _begin_to_watch(self, job: Job) -> None:
        self.jobs[job.name] = job
        self._read_queue()

    def _read_queue(self) -> None:
        with storage_errors(self.results):
            self.waiting = self.queue.waiting()
        self._process.try_again()

    def _sort_jobs(self) -> None:
        """Update `jobs` and `given_up` from the jobs' states."""
        watched = {**self.given_up, **self.jobs}
        self.jobs = {name: job for name, job in watched.items() if not job.is_over}
        self.given_up = {name: job for name, job in watched.items() if job.is_given_up}
