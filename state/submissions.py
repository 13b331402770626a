"""Many jobs into the queue without holding Blender up: some at every tick.

Where the disk refuses in the middle, those that wait are watched, and the rest is kept until the person has decided.
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
"""For which Blender may be held up."""


@dataclass
class _Wanted:
    desk: Runner
    request: JobRequest
    where: Placement
    live: bool
    job: Job | None = None


class Submissions:
    """Jobs on their way into the queue.

    Attributes:
        complaint: why no more jobs were added, and how many wait: one sentence.
        asked: by what was asked for, as text, the jobs that this Blender has put into the queue.
    """

    def __init__(self, arrivals: Arrivals) -> None:
        self.complaint = ""
        self.asked: dict[str, Job] = {}
        self._arrivals = arrivals
        self._wanted: deque[_Wanted] = deque()
        """Those that do not wait in the queue yet, the next one first."""
        self._count = 0
        """How many there were at first."""

    @property
    def is_under_way(self) -> bool:
        """Whether there is something to add, and nothing is known against it."""
        return self.has_more and not self.complaint

    @property
    def has_more(self) -> bool:
        """Whether something is still to be added, be it that the disk refused it."""
        return bool(self._wanted)

    @property
    def progress(self) -> tuple[int, int]:
        """How many wait in the queue, of how many that were asked for together."""
        return self._count - len(self._wanted), self._count

    def names(self) -> set[str]:
        """Of the jobs that have a folder, but do not wait yet."""
        return {wanted.job.name for wanted in self._wanted if wanted.job is not None}

    def ask(self, desk: Runner, requests: Iterable[JobRequest], where: Iterable[Placement], live: bool) -> None:
        """Note what is to be added; `go_on` does it."""
        if not self._wanted:
            self._count = 0
        new = [_Wanted(desk, request, place, live) for request, place in zip(requests, where, strict=True)]
        self._wanted.extend(new)
        self._count += len(new)

    def go_on(self, context: bpy.types.Context) -> list[Job]:
        """Add for a moment, at least one; the jobs that wait now.

        Raises:
            EngineError: none of those asked for could be added, and they are forgotten. Where only some could,
                `complaint` says so.
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
        """Forget what is not in the queue yet; folders that were made for it already are removed again."""
        for job in [wanted.job for wanted in self._wanted if wanted.job is not None]:
            self._arrivals.forget(job.name)
            with suppress(OSError):
                job.folder.remove()
        self._wanted.clear()
        self.complaint, self._count = "", 0

    def _add_some(self, context: bpy.types.Context, added: list[Job]) -> None:
        """`added` grows by what waits in the queue, also where this ends with an EngineError."""
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
                desk.submit_all(ready)  # also what was ready before the disk refused
            finally:
                added += self._take_submitted(desk)

    def _take_submitted(self, desk: Runner) -> list[Job]:
        """The jobs that wait in the queue by now; they are wanted no longer."""
        submitted = []
        while self._wanted and (job := self._wanted[0].job) is not None and desk.jobs.get(job.name) is job:
            submitted.append(job)
            self._wanted.popleft()
        return submitted


def set_live(job: Job, live: bool) -> None:
    """Let the engine save light meshes of the job, or no more; raises StorageError."""
    with storage_errors(job.folder.path):
        if live:
            touch(job.folder.live_flag)
        else:
            job.folder.live_flag.unlink(missing_ok=True)
