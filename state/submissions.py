"""Puts many jobs into the queue without blocking Blender: some at every tick of the timer.

If writing fails in the middle, the queued jobs are watched, and the rest is kept until the person retries or drops it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import bpy

from ..jobs.job import Job
from ..jobs.placement import Placement
from ..jobs.runner import Runner
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.files import touch
from .arrivals import Arrivals

SECONDS_AT_ONCE = 0.05
"""How long one tick may block Blender."""


@dataclass
class _Wanted:
    desk: Runner
    request: JobRequest
    where: Placement
    live: bool
    job: Job | None = None


class Submissions:
    """Jobs that are being put into the queue.

    Attributes:
        complaint: why no more jobs could be added, and how many were, as one sentence.
        asked: the jobs that this Blender has queued, by the `repr` of their requests.
    """

    def __init__(self, arrivals: Arrivals) -> None:
        self.complaint = ""
        self.asked: dict[str, Job] = {}
        self._arrivals = arrivals
        self._wanted: deque[_Wanted] = deque()
        """The jobs that are not in the queue yet, the next one first."""
        self._count = 0
        """How many jobs were submitted together."""

    @property
    def is_under_way(self) -> bool:
        """Whether there are jobs to add, and adding has not failed."""
        return self.has_more and not self.complaint

    @property
    def has_more(self) -> bool:
        """Whether there are jobs to add, even if adding has failed."""
        return bool(self._wanted)

    @property
    def progress(self) -> tuple[int, int]:
        """How many jobs are in the queue, and how many were submitted together."""
        return self._count - len(self._wanted), self._count

    def names(self) -> set[str]:
        """The names of the jobs that have a folder but are not in the queue yet."""
        return {wanted.job.name for wanted in self._wanted if wanted.job is not None}

    def ask(self, desk: Runner, requests: Iterable[JobRequest], where: Iterable[Placement], live: bool) -> None:
        """Accept jobs to add; `go_on` adds them."""
        if not self._wanted:
            self._count = 0
        new = [_Wanted(desk, request, place, live) for request, place in zip(requests, where, strict=True)]
        self._wanted.extend(new)
        self._count += len(new)

    def go_on(self, context: bpy.types.Context) -> list[Job]:
        """Add jobs for `SECONDS_AT_ONCE`, at least one; returns those that are in the queue now.

        Raises:
            EngineError: not a single job could be added, and all are dropped. If only some could, `complaint` says so.
        """
        self.complaint = ""
        added: list[Job] = []
        try:
            self._add_some(context, added)
        except EngineError as error:
            done, every = self.progress
            if done == 0:
                self.drop()
                raise
            self.complaint = f"{done} of {every} objects are in the queue, the other {every - done} are not: {error}"
        self.asked.update((repr(job.request), job) for job in added)
        return added

    def drop(self) -> None:
        """Forget the jobs that are not in the queue yet, and remove folders that were already made for them."""
        for job in [wanted.job for wanted in self._wanted if wanted.job is not None]:
            self._arrivals.forget(job.name)
            with suppress(OSError):
                job.folder.remove()
        self._wanted.clear()
        self.complaint, self._count = "", 0

    def _add_some(self, context: bpy.types.Context, added: list[Job]) -> None:
        """Add jobs, and append the queued ones to `added`, even if this ends with an EngineError."""
        until = time.monotonic() + SECONDS_AT_ONCE
        desk = self._wanted[0].desk
        ready: list[Job] = []
        try:
            for wanted in self._wanted:
                if wanted.desk is not desk:
                    break
                if wanted.job is None:
                    wanted.job = desk.create(wanted.request)
                self._arrivals.expect(context, wanted.job, wanted.where)
                set_live(wanted.job, wanted.live)
                ready.append(wanted.job)
                if time.monotonic() > until:
                    break
        finally:
            try:
                desk.submit_all(ready)  # also those that were ready before an error
            finally:
                added += self._take_submitted(desk)

    def _take_submitted(self, desk: Runner) -> list[Job]:
        """The jobs that are in the queue now; they are removed from those to add."""
        submitted = []
        while self._wanted and (job := self._wanted[0].job) is not None and desk.jobs.get(job.name) is job:
            submitted.append(job)
            self._wanted.popleft()
        return submitted


def set_live(job: Job, live: bool) -> None:
    """Let the engine save live meshes of a job, or stop doing so; raises StorageError."""
    with storage_errors(job.folder.path):
        if live:
            touch(job.folder.live_flag)
        else:
            job.folder.live_flag.unlink(missing_ok=True)
