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
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.diffusion.model_index import check_prompt
from ..sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE, EngineError
from ..sdi_engine.system.untrusted import printable
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
    display: ProgressDisplay = field(default_factory=ProgressDisplay)
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def is_over(self) -> bool:
        return self.job is None or self.job.is_over


def make_several(
    context: bpy.types.Context,
    prompts: Sequence[str],
    request_of: Callable[[str], JobRequest],
    runner: Runner,
    engine: Engine,
    spacing: float,
) -> list[Outcome]:
    """Make an object of each prompt, and place them along X from the 3D cursor, in the order of the prompts.

    The queue has only as many jobs at a time as the engine does at once, so that the engine does not go on for hours if
    this Blender ends. Each object is imported as soon as it and all before it are made. After Ctrl+C, or if a job is
    cancelled, no more jobs are started.

    Args:
        context: the objects come into its scene.
        prompts: one for each object.
        request_of: returns the request of a prompt; may raise EngineError.
        runner: does the jobs.
        engine: how to run the engine.
        spacing: gap between two objects, in the scene's units.

    Returns:
        The outcomes of all jobs that were started.
    """
    several = _Several(context, prompts, request_of, runner, engine, spacing)
    with on_stop_signals(several.cancel):
        return several.make()


class _Several:
    def __init__(
        self,
        context: bpy.types.Context,
        prompts: Sequence[str],
        request_of: Callable[[str], JobRequest],
        runner: Runner,
        engine: Engine,
        spacing: float,
    ) -> None:
        self._context = context
        self._request_of = request_of
        self._runner = runner
        self._engine = engine
        self._spacing = spacing
        self._seeds = UnusedSeeds()
        self._corner = context.scene.cursor.location.copy()
        self._waiting = deque((f"[{number}/{len(prompts)}]", prompt) for number, prompt in enumerate(prompts, 1))
        self._begun: deque[_Begun] = deque()

    def make(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        poller = Poller(self._runner, lambda: self._engine)
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

    def cancel(self) -> None:
        """Start no more jobs, and cancel the running ones, which save their progress."""
        self._waiting.clear()
        for job in self._running():
            self._runner.cancel(job)

    def _running(self) -> list[Job]:
        return [each.job for each in self._begun if each.job is not None and not each.job.is_over]

    def _at_once(self) -> int:
        return max(self._engine.processes, (self._runner.engine or {}).get("capacity", 1))

    def _begin(self, label: str, prompt: str) -> None:
        print(f"{label} {shown(prompt)}", flush=True)
        scene = self._context.scene.name
        begun = _Begun(prompt, label, Placement.at(self._corner, scene=scene, blend_file=bpy.data.filepath))
        try:
            request = self._seeds.give(self._request_of(prompt).validated())
            check_prompt(request.prompt, request.model)
            self._runner.use(self._engine)
            begun.job = submit(request, self._runner, begun.where)
        except EngineError as error:
            begun.error = error
        self._begun.append(begun)

    def _poll(self, poller: Poller) -> None:
        jobs = self._running()
        if not jobs:
            return
        changed = poller.poll(jobs)
        for each in self._begun:
            if each.job in jobs:
                each.seconds = time.monotonic() - each.started
        if self._at_once() == 1:  # the bars of several would overwrite each other
            for each in self._begun:
                if each.job in changed:
                    each.display(each.job)

    def _end(self, begun: _Begun) -> Outcome:
        begun.display.close()
        folder = str(begun.job.folder.path) if begun.job is not None else ""
        label = f"{begun.label} " if self._at_once() > 1 else "  "
        try:
            if begun.error is not None:
                raise begun.error
            assert begun.job is not None
            placed = fetch(self._context, begun.job, begun.where)
        except (EngineError, ImportFailedError) as error:
            print(f"{label}failed: {printable(str(error))}", flush=True)
            exit_code = error.exit_code if isinstance(error, EngineError) else 1
            folder = folder if isinstance(error, JobFailedError) else ""
            return Outcome(begun.prompt, exit_code, begun.seconds, folder=folder, error=str(error))
        low, high = bounds(placed)
        placed.location.x = self._corner.x - low.x
        step_aside(self._context, placed)  # away from objects of the opened file
        self._corner.x = placed.location.x + high.x + self._spacing
        if self._at_once() > 1:
            print(f"{label}made in {duration(begun.seconds)}", flush=True)
        return Outcome(begun.prompt, EXIT_DONE, begun.seconds, placed.name, folder)


def shown(prompt: str) -> str:
    """A prompt shortened to fit into a line of a terminal."""
    return textwrap.shorten(printable(prompt), 60, placeholder="…")
