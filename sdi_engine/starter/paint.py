"""The starter world's surfaces: colours, materials and patterns that vary in position and size.

A surface's colour is linear in the colours that a prompt names, so one render serves every colour: `Paint` holds the
coefficients, `world.palette` the colours that they weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[float, float, float]
"""Red, green, blue in 0...1, as displayed (sRGB)."""

COLOURS: dict[str, Colour] = {
    "red": (0.86, 0.10, 0.09),
    "orange": (0.97, 0.50, 0.05),
    "yellow": (0.98, 0.87, 0.15),
    "green": (0.14, 0.58, 0.18),
    "turquoise": (0.16, 0.80, 0.78),
    "blue": (0.10, 0.26, 0.86),
    "purple": (0.46, 0.14, 0.68),
    "pink": (0.98, 0.55, 0.76),
    "white": (0.95, 0.95, 0.94),
    "grey": (0.52, 0.53, 0.54),
    "black": (0.10, 0.10, 0.11),
    "wooden": (0.76, 0.54, 0.30),
}
"""The colours that a prompt may name. "wooden" is a material: it has its own grain, and takes no pattern."""

WOODEN = "wooden"

PATTERNS = ("plain", "dotted", "striped", "checkered")
"""The patterns that a prompt may name; "plain" is the one without a word in the prompt."""

CREAM: Colour = (0.96, 0.92, 0.82)
WHITE: Colour = (0.95, 0.95, 0.94)
BLACK: Colour = (0.10, 0.10, 0.11)
GREY: Colour = (0.55, 0.56, 0.58)
STEEL: Colour = (0.36, 0.38, 0.42)
BARK: Colour = (0.42, 0.26, 0.13)
COFFEE: Colour = (0.27, 0.14, 0.07)
TERRACOTTA: Colour = (0.70, 0.37, 0.22)
SLATE: Colour = (0.30, 0.27, 0.30)
GLASS: Colour = (0.60, 0.84, 0.95)
LIGHT: Colour = (1.00, 0.93, 0.55)
CARROT: Colour = (0.98, 0.45, 0.05)
SKIN_PINK: Colour = (0.95, 0.68, 0.70)
TAIL_LIGHT: Colour = (0.75, 0.03, 0.05)

_DARK_DETAIL: Colour = (0.13, 0.16, 0.30)
_LIGHT_COLOURS = ("white", "yellow")


@dataclass(frozen=True)
class Paint:
    """One surface's colour: own + main * (the named colour) + detail * (the contrasting colour).

    Attributes:
        own: the part that does not depend on the prompt, sRGB.
        main: share of the named colour, 0...1.
        detail: share of the contrasting colour, 0...1.
        patterned: whether the prompt's pattern shows on it.
    """

    own: Colour = (0.0, 0.0, 0.0)
    main: float = 0.0
    detail: float = 0.0
    patterned: bool = False

    def darker(self, factor: float = 0.78) -> Paint:
        """The same paint, every channel times a factor; without the pattern."""
        red, green, blue = self.own
        own = (red * factor, green * factor, blue * factor)
        return replace(self, own=own, main=self.main * factor, detail=self.detail * factor, patterned=False)

    def lighter(self, amount: float = 0.18) -> Paint:
        """The same paint, mixed with white; without the pattern."""
        mixed = self.darker(1 - amount)
        red, green, blue = mixed.own
        return replace(mixed, own=(red + amount, green + amount, blue + amount))


MAIN = Paint(main=1.0, patterned=True)
"""The named colour with the prompt's pattern: what covers most of a thing."""

DETAIL = Paint(detail=1.0)
"""The contrasting colour (`detail_colour`): white, or dark blue on things that are white or yellow."""


def natural(colour: Colour) -> Paint:
    """The paint of a part whose colour does not depend on the prompt: tyres, glass, a trunk."""
    return Paint(own=colour)


def detail_colour(colour: str) -> Colour:
    """The contrasting colour, of details and patterns, on a thing of a named colour.

    Raises:
        ValueError: the colour is not one of `COLOURS`.
    """
    if colour not in COLOURS:
        raise ValueError(f"the starter world has no colour {colour!r}; it has {', '.join(COLOURS)}")
    return _DARK_DETAIL if colour in _LIGHT_COLOURS else WHITE


Pattern = Callable[[np.ndarray], np.ndarray]
"""Takes positions (N, 3) in the canonical pose; returns the share of the contrasting colour at each, (N,) in 0...1."""


def make_pattern(name: str, surface: np.ndarray, rng: np.random.Generator) -> Pattern:
    """A pattern with random position, size and direction.

    Args:
        name: one of `PATTERNS`.
        surface: (M, 3) points spread over the patterned surface; dots are centred on some of them.
        rng: makes the random choices.
    """
    if name == "dotted":
        return _dots(surface, rng)
    if name == "striped":
        return _stripes(rng)
    if name == "checkered":
        return _checks(rng)
    return lambda points: np.zeros(len(points))


def make_grain(rng: np.random.Generator) -> Pattern:
    """The dark streaks of wood: how much darker each point is, 0...1."""
    along = rng.integers(3)
    across = [axis for axis in range(3) if axis != along]
    phase, period, bend = rng.uniform(0, 1), rng.uniform(0.09, 0.14), rng.uniform(0.02, 0.05)

    def grain(points: np.ndarray) -> np.ndarray:
        wave = bend * np.sin(5 * points[:, along] + 7 * phase)
        place = (points[:, across[0]] + 0.7 * points[:, across[1]] + wave) / period + phase
        return np.where(place % 1.0 < 0.3, 0.38, 0.0)

    return grain


def _dots(surface: np.ndarray, rng: np.random.Generator) -> Pattern:
    """Round dots at a minimum distance from each other, however the surface bends."""
    radius = rng.uniform(0.055, 0.085)
    spacing = radius * rng.uniform(2.9, 3.5)
    centres: list[np.ndarray] = []
    for candidate in surface[rng.permutation(len(surface))]:
        if all(np.linalg.norm(candidate - centre) > spacing for centre in centres):
            centres.append(candidate)
    spots = np.array(centres).reshape(-1, 3)

    def dots(points: np.ndarray) -> np.ndarray:
        inside = np.zeros(len(points), dtype=bool)
        for spot in spots:
            inside |= ((points - spot) ** 2).sum(axis=1) < radius**2
        return inside.astype(float)

    return dots


def _stripes(rng: np.random.Generator) -> Pattern:
    """Stripes of equal width: horizontal, vertical or slanting."""
    direction = np.array([[0, 0, 1], [1, 0, 0], [0.7, 0.2, 0.7]][rng.integers(3)], dtype=float)
    period, phase = rng.uniform(0.17, 0.26), rng.uniform(0, 1)
    return lambda points: (((points @ direction) / period + phase) % 1.0 < 0.45).astype(float)


def _checks(rng: np.random.Generator) -> Pattern:
    """A checkerboard of cubes in two colours, randomly turned about z."""
    side, phase, turn = rng.uniform(0.13, 0.18), rng.uniform(0, 2, 3), rng.uniform(0, np.pi / 2)
    turned = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return lambda points: (np.floor(points @ turned / side + phase).sum(axis=1) % 2).astype(float)
