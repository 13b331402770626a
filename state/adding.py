"""Many jobs into the queue without holding Blender up: some at every tick.

Where the disk refuses in the middle, those that wait are watched, and the rest is kept until the person has decided.
"""

from __future__ import annotations

import logging
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
from . import arrivals

SECONDS_AT_ONCE = 0.05

complaint = ""
"""Why no more jobs were added, and how many wait: one sentence."""

_wanted: deque[_Wanted] = deque()
"""Those that do not wait in the queue yet, the next one first."""

_asked_for = 0
"""How many there were at first."""

log = logging.getLogger(__name__)


@dataclass
class _Wanted:
    desk: Runner
    request: JobRequest
    where: Placement
    live: bool
    job: Job | None = None


def is_under_way() -> bool:
    """Whether there is something to add, and nothing is known against it."""
    return bool(_wanted) and not complaint


def is_left() -> bool:
    """Whether something is still to be added, be it that the disk refused it."""
    return bool(_wanted)


def names() -> set[str]:
    """Of the jobs that have a folder, but do not wait yet."""
    return {wanted.job.name for wanted in _wanted if wanted.job is not None}


def progress() -> tuple[int, int]:
    """How many wait in the queue, of how many that were asked for together."""
    return _asked_for - len(_wanted), _asked_for


def ask(desk: Runner, requests: Iterable[JobRequest], where: Iterable[Placement], live: bool) -> None:
    """Note what is to be added; `go_on` does it."""
    global _asked_for
    if not _wanted:
        _asked_for = 0
    new = [_Wanted(desk, request, place, live) for request, place in zip(requests, where, strict=True)]
    _wanted.extend(new)
    _asked_for += len(new)


def go_on(context: bpy.types.Context) -> list[Job]:
    """Add for a moment, at least one; the jobs that wait now.

    Raises:
        EngineError: none of those asked for could be added, and they are forgotten. Where only some could, `complaint`
            says so.
    """
    global complaint
    complaint = ""
    added: list[Job] = []
    try:
        _add_some(context, added)
    except EngineError as error:
        done, every = progress()
        if done == 0:
            drop()
            raise
        complaint = f"{done} of {every} objects wait in the queue, the other {every - done} do not: {error}"
    return added


def drop() -> None:
    """Forget what is not in the queue yet; folders that were made for it already are removed again."""
    global complaint, _asked_for
    for job in [wanted.job for wanted in _wanted if wanted.job is not None]:
        arrivals.forget(job.name)
        with suppress(OSError):
            job.folder.remove()
    _wanted.clear()
    complaint, _asked_for = "", 0


def set_live(job: Job, live: bool) -> None:
    """Let the engine save light meshes of the job, or no more; raises StorageError."""
    with storage_errors(job.folder.path):
        if live:
            touch(job.folder.live_flag)
        else:
            job.folder.live_flag.unlink(missing_ok=True)


def _add_some(context: bpy.types.Context, added: list[Job]) -> None:
    """`added` grows by what waits in the queue, also where this ends with an EngineError."""
    until = time.monotonic() + SECONDS_AT_ONCE
    desk = _wanted[0].desk
    ready: list[Job] = []
    try:
        for wanted in _wanted:
            if wanted.desk is not desk:
                break
            if wanted.job is None:
                wanted.job = desk.create(wanted.request)
            arrivals.expect(context, wanted.job, wanted.where)
            set_live(wanted.job, wanted.live)
            ready.append(wanted.job)
            if time.monotonic() > until:
                break
    finally:
        try:
            desk.submit_all(ready)  # also what was ready before the disk refused
        finally:
            while _wanted and _wanted[0].job is not None and desk.jobs.get(_wanted[0].job.name) is _wanted[0].job:
                added.append(_wanted.popleft().job)
