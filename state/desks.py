"""The runners of results folders: of the one in the preferences, and of former ones with unfinished jobs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Container
from typing import Any

import bpy

from ..jobs.job import Job
from ..jobs.library import Entry, Library
from ..jobs.runner import Runner
from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.errors import EngineError
from . import job_list, preferences

BACKGROUND_IDLE_MINUTES = 1.0

log = logging.getLogger(__name__)


class Desks:
    """Attributes:
    runner: the runner of the results folder in the preferences; None until it is first needed.
    library: all jobs of that folder; None while there is no `runner`.
    unwatched: unfinished jobs of that folder that another person, or a Blender that has ended, started; and those that
        ended since the open file was saved.
    """

    def __init__(self) -> None:
        self.runner: Runner | None = None
        self.library: Library | None = None
        self.unwatched: deque[Entry] = deque()
        self._former: list[Runner] = []
        """Runners of former results folders that still have unfinished jobs."""

    def desk(self, context: bpy.types.Context) -> Runner:
        """The runner of the results folder in the preferences; a new one if that has changed."""
        results = preferences.results_folder(context)
        if self.runner is None or self.runner.results != results:
            if self.runner is not None and self.runner.is_busy:
                self._former.append(self.runner)
            self.runner = next((each for each in self._former if each.results == results), None) or Runner(results)
            self._former = [each for each in self._former if each is not self.runner]
            self.library = Library(results)
            self.unwatched.clear()
            job_list.fill([])
        in_window = preferences.of(context).idle_minutes
        self.runner.idle_minutes = BACKGROUND_IDLE_MINUTES if bpy.app.background else in_window
        return self.runner

    def all(self) -> list[Runner]:
        """All runners: of the results folder, and of former ones with unfinished jobs."""
        return ([self.runner] if self.runner is not None else []) + self._former

    def of(self, context: bpy.types.Context, wanted: Job) -> Runner:
        """The runner of the job's results folder, which may not be the one in the preferences."""
        self.desk(context)
        results = wanted.folder.path.parent
        for each in self.all():
            if each.jobs.get(wanted.name) is wanted or each.results == results:
                return each
        former = Runner(results)
        self._former.append(former)
        return former

    def forget_idle(self) -> None:
        """Drop runners of former results folders in which every job is over."""
        self._former = [each for each in self._former if each.is_busy]

    def close(self) -> None:
        """Let engines that were started here end once their queue is empty."""
        for each in self.all():
            try:
                each.close()
            except EngineError as error:
                log.warning("The engine could not be asked to end: %s", error)

    def is_busy(self) -> bool:
        """Whether there is a job that is not over."""
        return any(each.is_busy for each in self.all())

    def current(self) -> Job | None:
        """The job that an engine works on; None if there is none."""
        return next((each.current for each in self.all() if each.current is not None), None)

    def watched(self, name: str) -> Job | None:
        """The unfinished job of this name that is watched here, or None."""
        return next((each.jobs[name] for each in self.all() if name in each.jobs), None)

    def read(self, context: bpy.types.Context, name: str) -> Job | None:
        """The job of this name, read from its folder; None if there is none or it is damaged."""
        desk = self.desk(context)
        return read_job(desk, name, {ticket.name for ticket in desk.queue.waiting()})

    def entry(self, name: str) -> Entry | None:
        """The library's entry of a job, or None."""
        return self.library.find(name) if self.library is not None else None

    def is_elsewhere(self, shown: Job) -> bool:
        """Whether a job's folder is not in the results folder in the preferences."""
        runner = self.runner
        return runner is not None and shown.folder.path.parent not in (runner.results, runner.queue.samples_folder)

    def engine_of(self, shown: Job) -> dict[str, Any] | None:
        """The status of the engine that serves the job's results folder; None if none does."""
        watching = self._watching(shown)
        return watching.engine if watching is not None else None

    def starts_engine_for(self, shown: Job) -> bool:
        """Whether an engine is being started for the job: there is none, and nothing known keeps it from being."""
        watching = self._watching(shown)
        return watching is not None and not (watching.engine or watching.is_held or watching.trouble)

    def _watching(self, shown: Job) -> Runner | None:
        return next((each for each in self.all() if each.jobs.get(shown.name) is shown), self.runner)

    def waits_from(self, name: str) -> str | None:
        """The machine from which a job was queued that this person's engine does not take by itself.

        Empty if the machine is unknown; None if the job does not wait, or waits for this person's engine.
        """
        ticket = self.runner.ticket_from_elsewhere(name) if self.runner is not None else None
        return ticket.host if ticket is not None else None


def read_job(desk: Runner, name: str, waiting: Container[str]) -> Job | None:
    """A job, read from its folder; None if there is none or it is damaged. `waiting`: names of the queued jobs."""
    try:
        found = Job(JobFolder(desk.results / name))
    except EngineError:
        return None
    found.refresh(waits=name in waiting)
    return found
