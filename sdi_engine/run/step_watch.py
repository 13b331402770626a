"""Where in a step a run is: what its parts take, and how much of it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from ..representation import Safepoint

MOST = 0.999
"""A step that is not over is not all done, however many evaluations it takes beyond the expected ones."""


class Parts(NamedTuple):
    """The three parts of a step, in their order: seconds of each, or shares of the whole.

    Attributes:
        render: until the images are there.
        images: encoding them, κ, the target, and the images' gradients.
        backward: from the images' gradients to the next step.
    """

    render: float
    images: float
    backward: float

    @property
    def shares(self) -> Parts:
        """Each as a share of the sum."""
        whole = max(sum(self), 1e-9)
        return Parts(*(part / whole for part in self))


class StepWatch:
    """The clock of one step.

    Args:
        device: what is waited for at the end of a part, since work on a GPU is asynchronous.
        expected: what share of the step each part is expected to take.
        evaluations: how many images the model is expected to be evaluated on.
        evaluated: on how many it was so far, by `WatchedPrior.evaluated`.
        safepoint: what to call at safepoints, with the share of the step that is done.
        passes: how many safepoints of the model a step is expected to pass; None before there was one.

    Attributes:
        passed: how many it passed so far.
    """

    def __init__(
        self,
        device: torch.device,
        expected: Parts,
        evaluations: float,
        evaluated: Callable[[], float],
        safepoint: Safepoint,
        passes: float | None = None,
    ) -> None:
        self.passed, self._passes = 0, passes
        self._expected, self._evaluations, self._evaluated = expected, max(evaluations, 1.0), evaluated
        self._at_start = evaluated()
        self._safepoint = safepoint
        self._seconds: list[float] = []
        self._wait: Callable[[], None] = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(
            device.type, lambda: None
        )
        self._began = self._now()

    @property
    def parts(self) -> Parts:
        """Seconds of each part, once all are over."""
        return Parts(*self._seconds)

    def between_patches(self, share: float) -> None:
        """A safepoint of the 3D, with the share of the part that is done."""
        current = len(self._seconds)
        self._safepoint(min(MOST, sum(self._expected[:current]) + share * self._expected[current]))

    def between_evaluations(self) -> None:
        """A safepoint of the model: before an evaluation, or between parts of it or of the encoder."""
        share = self.passed / self._passes if self._passes else (self._evaluated() - self._at_start) / self._evaluations
        self.passed += 1
        self.between_patches(min(1.0, share))

    def part_over(self) -> None:
        now = self._now()
        self._seconds.append(now - self._began)
        self._began = now

    def _now(self) -> float:
        self._wait()
        return time.perf_counter()
