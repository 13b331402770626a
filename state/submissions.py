"""Puts many jobs into the queue without blocking Blender: some at every tick of the timer.

If writing fails in the middle, the queued jobs are watched, and the rest is kept until the person retries or drops it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import bpy

from ..jobs.job import Job
from ..jobs.placement import Placement, Target
from ..jobs.runner import Runner
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.files import touch
from .arrivals import Arrivals

SECONDS_AT_ONCE = 0.05
"""How long one tick may block Blender."""


class SourceMesh(Protocol):
    """The mesh that a texture is for."""

    def write(self, path: Path) -> None:
        """Write it as a job's `source.npz`; raises StorageError."""


@dataclass
class _Wanted:
    desk: Runner
    request: JobRequest
    where: Placement
    live: bool
    source: SourceMesh | None
    job: Job | None = None


class Submissions:
    """Jobs that are being put into the queue.

    Attributes:
        complaint: why no more jobs could be added, and how many were, as one sentence.
    """

    def __init__(self, arrivals: Arrivals) -> None:
        self.complaint = ""
        self._asked: dict[str, Job] = {}
        """The jobs that this Blender has queued, by `_key_of`."""
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

    def asked(self, request: JobRequest, target: Target | None = None) -> Job | None:
        """The job that this Blender has queued for the same request, and the same object if it is a texture."""
        return self._asked.get(_key_of(request, target))

    def forget(self, name: str) -> None:
        """Forget that a job was asked for, since it was deleted."""
        self._asked = {key: job for key, job in self._asked.items() if job.name != name}

    def ask(
        self,
        desk: Runner,
        requests: Sequence[JobRequest],
        where: Iterable[Placement],
        live: bool,
        sources: Iterable[SourceMesh | None] | None = None,
    ) -> None:
        """Accept jobs to add, each with its mesh if it makes a texture; `go_on` adds them."""
        if not self._wanted:
            self._count = 0
        each = zip(requests, where, sources or [None] * len(requests), strict=True)
        new = [_Wanted(desk, request, place, live, source) for request, place, source in each]
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
                if wanted.source is not None:  # also where a full disk left a job without its mesh
                    wanted.source.write(wanted.job.folder.source_file)
                    wanted.source = None
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
            done = self._wanted.popleft()
            self._asked[_key_of(job.request, done.where.target)] = job
        return submitted


def _key_of(request: JobRequest, target: Target | None) -> str:
    return repr((request, target.identity if target is not None else ""))


def set_live(job: Job, live: bool) -> None:
    """Let the engine save live meshes of a job, or stop doing so; raises StorageError."""
    with storage_errors(job.folder.path):
        if live:
            touch(job.folder.live_flag)
        else:
            job.folder.live_flag.unlink(missing_ok=True)
