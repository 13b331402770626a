"""How long a run still takes: what its steps have cost so far, and what the schedule says of those to come."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

WINDOW_STEPS = 20
"""What an evaluation and a render take is told by the last so many steps: an object gets cheaper as it clears."""


@dataclass(frozen=True)
class Work:
    """What a step has to do, before it is done.

    Attributes:
        evaluations: images that the model is evaluated on, at least 1.
        effort: above 0, of rendering, beside that of a plain step in full size (`Representation.effort`).
    """

    evaluations: float
    effort: float


@dataclass(frozen=True)
class Took:
    """Seconds of a step.

    Attributes:
        model: of its evaluations.
        images: of what else is done with the images, such as encoding them.
        rendering: of the 3D.
    """

    model: float
    images: float
    rendering: float


@dataclass(frozen=True)
class Rates:
    """Seconds of an evaluation, of all else that is done with a step's images, of rendering with plain effort, and of
    what is done between two steps."""

    evaluation: float
    images: float
    rendering: float
    between: float

    def seconds(self, work: Work) -> float:
        """Of a step, and of what is done before the next one."""
        return work.evaluations * self.evaluation + self.images + work.effort * self.rendering + self.between


class Forecast:
    """Of one run.

    Args:
        works: of all steps of the run.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works
        self._evaluations = _from_each_on([work.evaluations for work in works])
        self._effort = _from_each_on([work.effort for work in works])
        self._steps: deque[tuple[Work, Took]] = deque(maxlen=WINDOW_STEPS)
        self._between, self._count = 0.0, 0

    def step_took(self, step: int, evaluations: int, took: Took) -> None:
        """Learn from the step of index `step`: how many evaluations it made, and its seconds."""
        self._steps.append((Work(float(evaluations), self._works[step].effort), took))
        self._count += 1

    def between_took(self, seconds: float) -> None:
        """Learn of previews, checkpoints and the like, which come after some steps."""
        self._between += seconds

    @property
    def rates(self) -> Rates | None:
        """None before there was a step."""
        if not self._steps:
            return None
        return Rates(
            _usual([took.model / work.evaluations for work, took in self._steps]),
            _usual([took.images for _, took in self._steps]),
            _usual([took.rendering / work.effort for work, took in self._steps]),
            self._between / self._count,
        )

    def left(self, step: int, within: float = 0.0) -> float | None:
        """Seconds until the run is over, when `step` steps are done and a share `within` of the next one.

        None before there was a step.
        """
        rates = self.rates
        if rates is None:
            return None
        steps = len(self._works) - step
        begun = within * rates.seconds(self._works[step]) if steps else 0.0
        everything = self._evaluations[step] * rates.evaluation + self._effort[step] * rates.rendering
        left = everything + steps * (rates.images + rates.between) - begun
        return max(0.0, left)  # in another order the same sum may be rounded to less

    def rate(self, step: int) -> float | None:
        """Steps per second at the next step."""
        rates = self.rates
        if rates is None:
            return None
        return 1.0 / rates.seconds(self._works[min(step, len(self._works) - 1)])


def _usual(values: Sequence[float]) -> float:
    """The mean of the middle half: a step in which something happens once, such as compiling, is like no other."""
    outside = (len(values) + 1) // 4
    return fmean(sorted(values)[outside : len(values) - outside])


def _from_each_on(values: Sequence[float]) -> list[float]:
    """The sum of all values from each index on, and 0 at the end."""
    return [*accumulate(reversed(values), initial=0.0)][::-1]
