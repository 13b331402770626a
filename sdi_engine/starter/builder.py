"""What the kinds of thing in the starter world are built with: painted parts, chance, and the table of all builders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .paint import Paint
from .solids import Solid

Part = tuple[Solid, Paint]
Builder = Callable[[np.random.Generator], list[Part]]

BUILDERS: dict[str, Builder] = {}
"""By the kind of thing; importing `kinds` fills it."""


def thing(kind: str) -> Callable[[Builder], Builder]:
    """Registers a builder under a name."""

    def register(builder: Builder) -> Builder:
        BUILDERS[kind] = builder
        return builder

    return register


def vary(rng: np.random.Generator, value: float, spread: float) -> float:
    """`value`, times a factor drawn uniformly from 1 - spread to 1 + spread."""
    return value * float(rng.uniform(1 - spread, 1 + spread))


def chance(rng: np.random.Generator, probability: float = 0.5) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)
