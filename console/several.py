"""Makes objects from a list of prompts, side by side in the scene, without a window; several at once if possible."""

from __future__ import annotations

import textwrap
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import bpy

from ..jobs.engine import Engine
from ..jobs.job import Job
from ..jobs.placement import Placement
from ..jobs.runner import Runner
from ..jobs.seeds import UnusedSeeds
from ..jobs.terminal import ProgressDisplay
from ..jobs.wait import Poller, on_stop_signals
from ..jobs.words import duration
from ..scene.free_space import step_aside
from ..scene.importer import ImportFailedError, bounds
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.diffusion.model_index import check_prompt
from ..sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE, EngineError
from ..sdi_engine.system.untrusted import printable
from ..state.desks import read_job
from .generate import JobFailedError, fetch, submit


@dataclass(frozen=True)
class Outcome:
    """The result of one prompt.

    Attributes:
        prompt: the prompt.
        exit_code: of `sdi_engine.errors`.
        seconds: from its start to its end.
        object: the object's name; empty if there is none.
        folder: the job's folder; empty if there is none.
        error: one sentence if it failed, else empty.
    """

    prompt: str
    exit_code: int
    seconds: float
    object: str = ""
    folder: str = ""
    error: str = ""


@dataclass
class _Begun:
    """A prompt whose job was started; without a job, `error` says why there is none."""

    prompt: str
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
    """Makes an object of each prompt, and places them along X from the 3D cursor, in the order of the prompts.

    The queue has only as many jobs at a time as the engine does at once, so that the engine does not go on for hours if
    this Blender ends. Each object is imported as soon as it and all before it are made.

    Attributes:
        context: the objects come into its scene.
        prompts: one for each object.
        request_of: returns the request of a prompt; may raise EngineError.
        runner: does the jobs.
        engine: how to run the engine.
        spacing: gap between two objects, in the scene's units.
        earlier: jobs of the results folder; one with the same request as a prompt is continued, or imported if it is
            done, instead of a new one.
    """

    context: bpy.types.Context
    prompts: Sequence[str]
    request_of: Callable[[str], JobRequest]
    runner: Runner
    engine: Engine
    spacing: float
    earlier: Sequence[Job] = ()

    def __post_init__(self) -> None:
        self._seeds = UnusedSeeds()
        self._display = ProgressDisplay()
        self._corner = self.context.scene.cursor.location.copy()
        count = len(self.prompts)
        self._waiting = deque((f"[{number}/{count}]", prompt) for number, prompt in enumerate(self.prompts, 1))
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

    def _begin(self, label: str, prompt: str) -> None:
        self._say(f"{label} {shown(prompt)}")
        scene = self.context.scene.name
        begun = _Begun(prompt, label, Placement.at(self._corner, scene=scene, blend_file=bpy.data.filepath))
        try:
            request = self._seeds.give(self.request_of(prompt).validated())
            check_prompt(request.prompt, request.model)
            self.runner.use(self.engine)
            begun.job = self._continue_earlier(request, begun.where) or submit(request, self.runner, begun.where)
        except EngineError as error:
            begun.error = error
        self._begun.append(begun)

    def _continue_earlier(self, request: JobRequest, where: Placement) -> Job | None:
        """Continue an earlier job with this request, unless it is done; None if there is none."""
        same = [job for job in self.earlier if job.request == request]
        job = next((job for job in same if job.state == events.DONE), same[0] if same else None)
        if job is None:
            return None
        job.folder.refuse_links()
        with storage_errors(job.folder.path):
            where.write(job.folder)
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
        try:
            if begun.error is not None:
                raise begun.error
            assert begun.job is not None
            placed = fetch(self.context, begun.job, begun.where)
        except (EngineError, ImportFailedError) as error:
            self._say(f"{label} failed: {printable(str(error))}")
            exit_code = error.exit_code if isinstance(error, EngineError) else 1
            folder = folder if isinstance(error, JobFailedError) else ""
            return Outcome(begun.prompt, exit_code, begun.seconds, folder=folder, error=str(error))
        low, high = bounds(placed)
        placed.location.x = self._corner.x - low.x
        step_aside(self.context, placed)  # away from objects of the opened file
        self._corner.x = placed.location.x + high.x + self.spacing
        if self._label(begun):
            self._say(f"{label} made in {duration(begun.seconds)}")
        self._display.close()
        return Outcome(begun.prompt, EXIT_DONE, begun.seconds, placed.name, folder)

    def _label(self, begun: _Begun) -> str:
        """What its lines in the terminal begin with; empty if one job runs at a time."""
        return begun.label if self.engine.processes != 1 or self.engine.cluster else ""

    def _say(self, line: str) -> None:
        self._display.close()
        print(line, flush=True)


def earlier_jobs(runner: Runner) -> list[Job]:
    """This person's jobs in a results folder, the newest first, except those whose results another Blender expects.

    Raises:
        StorageError: the folder cannot be read.
    """
    with storage_errors(runner.results):
        waiting = {ticket.name for ticket in runner.queue.waiting()}
        folders = runner.results.iterdir() if runner.results.is_dir() else ()
        found = [read_job(runner, name, waiting) for name in sorted((folder.name for folder in folders), reverse=True)]
    return [job for job in found if job is not None and _is_free(job)]


def _is_free(job: Job) -> bool:
    placement = Placement.read(job.folder)
    return placement is not None and placement.is_ours(job.folder) and not placement.is_owned_by_another


def shown(prompt: str) -> str:
    """A prompt shortened to fit into a line of a terminal."""
    return textwrap.shorten(printable(prompt), 60, placeholder="…")
