"""A number that changes as a run goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ramp:
    """A number that follows the run's progress (0…1): `first` until `start`, `last` from `end` on, linear between.

    Or it follows the diffusion time t in the same way: `first` at the times up to `start`, `last` from `end` on.
    """

    first: float
    last: float
    start: float = 0.0
    end: float = 1.0

    def __call__(self, progress: float) -> float:
        if progress >= self.end:
            return self.last
        share = max(0.0, progress - self.start) / (self.end - self.start) if progress > self.start else 0.0
        return self.first + (self.last - self.first) * share


def constant(value: float) -> Ramp:
    """The same number all along."""
    return Ramp(value, value)
