"""Shared by the builders in `kinds/`: painted parts, random choices, and the table of all builders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .paint import Paint
from .solids import Solid

Part = tuple[Solid, Paint]
"""A closed mesh in one paint."""

Builder = Callable[[np.random.Generator], list[Part]]
"""Makes a random thing of one kind from parts."""

BUILDERS: dict[str, Builder] = {}
"""The builder of every kind of thing, by its name; importing `kinds` fills it."""


def thing(kind: str) -> Callable[[Builder], Builder]:
    """A decorator that registers a builder under the name of its kind."""

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
