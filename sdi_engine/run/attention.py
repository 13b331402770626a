"""What a run hears and says while it works, also in the middle of a long step: the person's flags, how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..config.evaluations import evaluations_of
from ..contract.events import Event, Progress
from ..contract.job_folder import JobFolder
from ..representation import Step
from .forecast import Forecast, Took, Work
from .optimisation import Optimisation, StepReport, rendered_resolution

PHASE = "Optimising"

PROGRESS_SECONDS = 0.25
"""Steps are reported at least so far apart."""

LISTEN_SECONDS = 0.5
"""In the middle of a step the flags are looked for, and its share that is done is reported, so often at most."""


class InterruptedStepError(Exception):
    """The person wants something else than the rest of this step, which is as if it had never begun."""


class Attention:
    """Of one run in its folder, from its present step on. It is the run's safepoint.

    Args:
        report: takes the events.
        clock: seconds.
    """

    def __init__(
        self,
        run: Optimisation,
        folder: JobFolder,
        report: Callable[[Event], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run, self._folder, self._report, self._clock = run, folder, report, clock
        self._forecast = Forecast(works_of(run))
        self._last_report = self._last_look = self._step_over = clock()
        report(Progress(PHASE, run.step, max(run.settings.steps, 1)))

    def __call__(self, share: float) -> None:
        """In the middle of a step, of which a share is done.

        Raises:
            InterruptedStepError: one of the flags is there that end a run.
        """
        now = self._clock()
        if now - self._last_look < LISTEN_SECONDS:
            return
        self._last_look = now
        if self._folder.is_told_to_end:
            raise InterruptedStepError
        if now - self._last_report >= LISTEN_SECONDS:
            self._say(now, share)

    def step_begins(self) -> None:
        """What was done since the last step is over."""
        now = self._clock()
        if self._forecast.rates is not None:
            self._forecast.between_took(now - self._step_over)
        self._last_look = now

    def step_over(self, done: StepReport) -> None:
        images = max(0.0, done.seconds_2d - done.seconds_model)
        self._forecast.step_took(done.step - 1, done.evaluations, Took(done.seconds_model, images, done.seconds_3d))
        now = self._step_over = self._clock()
        if now - self._last_report >= PROGRESS_SECONDS or self._run.done:
            self._say(now)

    def _say(self, now: float, within: float = 0.0) -> None:
        self._last_report = now
        step, steps = self._run.step, self._run.settings.steps
        left = self._forecast.left(step, within)
        self._report(Progress(PHASE, step, steps, self._forecast.rate(step), left, within))


def works_of(run: Optimisation) -> list[Work]:
    """What each step of a run has to do."""
    settings = run.settings
    steps = (Step(run.seed, number, settings.steps) for number in range(settings.steps))
    assert settings.resolution is not None
    return [
        Work(
            evaluations_of(settings, step.progress),
            run.representation.effort(step) * (rendered_resolution(settings, step.progress) / settings.resolution) ** 2,
        )
        for step in steps
    ]
