"""Does one job after another without a window, or several at once if possible, and brings in what they have made."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import bpy

from ..jobs.engine import Engine
from ..jobs.job import Job
from ..jobs.placement import Placement
from ..jobs.runner import Runner
from ..jobs.terminal import ProgressDisplay, say
from ..jobs.wait import Poller, on_stop_signals
from ..jobs.words import duration
from ..scene.importer import ImportFailedError
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.diffusion.request_check import check_request
from ..sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE, EngineError
from ..sdi_engine.system.files import names_in
from ..sdi_engine.system.untrusted import printable
from ..state.desks import read_job
from .generate import JobFailedError, submit
from .outcome import Outcome, shown


class Wanted(ABC):
    """One thing to make.

    Attributes:
        prompt: what it is made from.
        title: what it is called in the terminal.
    """

    prompt: str
    title: str

    @abstractmethod
    def request(self) -> JobRequest:
        """The request of its job; raises EngineError."""

    @abstractmethod
    def where(self) -> Placement:
        """Where the result belongs; asked when its job begins."""

    @abstractmethod
    def receive(self, job: Job, where: Placement) -> tuple[bpy.types.Object, Sequence[str]]:
        """Bring the result of a job that is over into the scene.

        Returns:
            The object, and sentences for the person.

        Raises:
            EngineError: the job failed, or was cancelled or paused.
            ImportFailedError: the result cannot be brought in.
        """

    @abstractmethod
    def prepare(self, job: Job) -> None:
        """Write what the job needs besides its request; raises OSError."""

    @abstractmethod
    def is_made_by(self, job: Job) -> bool:
        """Whether a job with the same request is for the same thing."""


@dataclass
class _Begun:
    """A thing whose job was started; without a job, `error` says why there is none."""

    wanted: Wanted
    label: str
    where: Placement
    job: Job | None = None
    error: EngineError | None = None
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def is_over(self) -> bool:
        return self.job is None or self.job.is_over


@dataclass
class Several:
    """Makes several things.

    The queue has only as many jobs at a time as the engine does at once, so that the engine does not go on for hours if
    this Blender ends. Each result is brought in as soon as it and all before it are made.

    Attributes:
        wanted: what to make, in this order.
        runner: does the jobs.
        engine: how to run the engine.
        earlier: jobs of the results folder; one with the same request, for the same thing, is continued, or its result
            brought in if it is done, instead of a new one.
    """

    wanted: Sequence[Wanted]
    runner: Runner
    engine: Engine
    earlier: Sequence[Job] = ()

    def __post_init__(self) -> None:
        self._display = ProgressDisplay()
        count = len(self.wanted)
        self._waiting = deque((f"[{number}/{count}]", each) for number, each in enumerate(self.wanted, 1))
        self._begun: deque[_Begun] = deque()
        self._is_stopping = False

    def make(self) -> list[Outcome]:
        """Make them; the outcomes of all jobs that were started.

        After Ctrl+C, or if a job is paused or cancelled, no more jobs are started. Ctrl+C pauses the running ones, and
        a second one cancels them.
        """
        with on_stop_signals(self._stop):
            return self._make()

    def _make(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        poller = Poller(self.runner, lambda: self.engine)
        while self._waiting or self._begun:
            while self._waiting and len(self._running()) < self._at_once():
                self._begin(*self._waiting.popleft())
            try:
                self._poll(poller)
            except EngineError as error:  # the drive of the results is gone
                for each in self._begun:
                    if not each.is_over:
                        each.job, each.error = None, error
            while self._begun and self._begun[0].is_over:
                outcomes.append(self._end(self._begun.popleft()))
                if outcomes[-1].exit_code == EXIT_CANCELLED:
                    self._waiting.clear()
        return outcomes

    def _stop(self) -> None:
        """Start no more jobs, and pause the running ones, which save their progress; the second time, cancel them."""
        self._waiting.clear()
        for job in self._running():
            if self._is_stopping:
                self.runner.cancel(job)
            else:
                self.runner.set_aside(job)
        self._is_stopping = True

    def _running(self) -> list[Job]:
        return [each.job for each in self._begun if each.job is not None and not each.job.is_over]

    def _at_once(self) -> int:
        return max(self.engine.processes or 1, (self.runner.engine or {}).get("capacity", 1))

    def _begin(self, label: str, wanted: Wanted) -> None:
        self._say(f"{label} {shown(wanted.title)}")
        begun = _Begun(wanted, label, wanted.where())
        try:
            request = wanted.request()
            check_request(request)
            self.runner.use(self.engine)
            begun.job = self._continue_earlier(request, begun) or submit(
                request, self.runner, begun.where, wanted.prepare
            )
        except EngineError as error:
            begun.error = error
        self._begun.append(begun)

    def _continue_earlier(self, request: JobRequest, begun: _Begun) -> Job | None:
        """Continue an earlier job with this request, unless it is done; None if there is none."""
        same = [job for job in self.earlier if job.request == request and begun.wanted.is_made_by(job)]
        job = next((job for job in same if job.state == events.DONE), same[0] if same else None)
        if job is None:
            return None
        job.folder.refuse_links()
        with storage_errors(job.folder.path):
            begun.where.write(job.folder)
        if not job.is_over:
            self.runner.watch([job])
        elif job.state != events.DONE:
            self.runner.resume(job)
        return job

    def _poll(self, poller: Poller) -> None:
        jobs = self._running()
        if not jobs:
            return
        changed = poller.poll(jobs)
        for each in self._begun:
            if each.job in jobs:
                each.seconds = time.monotonic() - each.started
            if each.job is not None and each.job in changed:
                self._display(each.job, self._label(each))

    def _end(self, begun: _Begun) -> Outcome:
        label = self._label(begun) or " "
        folder = str(begun.job.folder.path) if begun.job is not None else ""
        wanted = begun.wanted
        try:
            if begun.error is not None:
                raise begun.error
            assert begun.job is not None
            placed, notices = wanted.receive(begun.job, begun.where)
        except (EngineError, ImportFailedError) as error:
            self._say(f"{label} failed: {printable(str(error))}")
            exit_code = error.exit_code if isinstance(error, EngineError) else 1
            folder = folder if isinstance(error, JobFailedError) else ""
            return Outcome(wanted.prompt, exit_code, begun.seconds, folder=folder, error=str(error), title=wanted.title)
        for notice in notices:
            self._say(f"{label} {printable(notice)}")
        if self._label(begun):
            self._say(f"{label} made in {duration(begun.seconds)}")
        self._display.close()
        return Outcome(wanted.prompt, EXIT_DONE, begun.seconds, placed.name, folder, title=wanted.title)

    def _label(self, begun: _Begun) -> str:
        """What its lines in the terminal begin with; empty if one job runs at a time."""
        return begun.label if self.engine.processes != 1 or self.engine.cluster else ""

    def _say(self, line: str) -> None:
        self._display.close()
        say(line)


def earlier_jobs(runner: Runner) -> list[Job]:
    """This person's jobs in a results folder, the newest first, except those whose results another Blender expects.

    Raises:
        StorageError: the folder cannot be read.
    """
    with storage_errors(runner.results):
        waiting = {ticket.name for ticket in runner.queue.waiting()}
        names = names_in(runner.results) if runner.results.is_dir() else ()
        found = [read_job(runner, name, waiting) for name in sorted(names, reverse=True)]
    return [job for job in found if job is not None and _is_free(job)]


def _is_free(job: Job) -> bool:
    placement = Placement.read(job.folder)
    return placement is not None and placement.is_ours(job.folder) and not placement.is_owned_by_another
