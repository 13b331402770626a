"""Between which limits a number lies: said where the number is declared, `steps: Annotated[int, Within(1, 1000)]`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Within:
    """The limits of a number, or of each number that a list or a `Ramp` holds; both may be reached."""

    low: float
    high: float


MOST = Within(-1e6, 1e6)
"""The limits of a number of which nothing is said: beyond them it would be none, or fill any memory."""
