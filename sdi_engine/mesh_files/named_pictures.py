"""The pictures that the materials of a mesh file name, and where on the UV map they say that these lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..surface.look import REPEAT, Wrap
from ..system.untrusted import printable

_MOST_NAMED = 3
_LONGEST_NAME = 40


@dataclass(frozen=True)
class NamedPicture:
    """Attributes:
    name: for messages.
    move: (2, 3), from UV coordinates (u, v, 1), v = 0 at the bottom, to the place in the picture; None: the same.
    wrap: what lies outside the picture, along u and along v.
    """

    name: str
    move: NDArray[np.float64] | None = None
    wrap: tuple[Wrap, Wrap] = REPEAT


def movement(
    scale: Sequence[float] = (1.0, 1.0), offset: Sequence[float] = (0.0, 0.0), rotation: float = 0.0
) -> NDArray[np.float64] | None:
    """`NamedPicture.move` that scales, then rotates by so many radians counter-clockwise, then moves; None if it does
    nothing.

    Raises:
        ValueError: a number is infinite or no number.
    """
    cosine, sine = math.cos(rotation), math.sin(rotation)
    move = np.array([[cosine * scale[0], -sine * scale[1], offset[0]], [sine * scale[0], cosine * scale[1], offset[1]]])
    if not np.isfinite(move).all():
        raise ValueError("a picture that is moved by infinitely much")
    return None if np.array_equal(move, np.eye(2, 3)) else move


def moved(uv: NDArray[np.floating], move: NDArray[np.float64] | None) -> NDArray[np.floating]:
    """UV coordinates (…, 2) as places in a picture."""
    return uv if move is None else uv @ move[:, :2].T + move[:, 2]


def listed(names: Iterable[str]) -> str:
    """Names as a sentence has them, in quotation marks; of many the first few, and how many more there are."""
    unique = [printable(name)[:_LONGEST_NAME] for name in dict.fromkeys(names)]
    shown = [f'"{name}"' for name in unique[:_MOST_NAMED]]
    more = len(unique) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def sentence(beginning: str, names: Sequence[str]) -> tuple[str, ...]:
    """A notice that names follow; none where there are no names."""
    return (f"{beginning}: {listed(names)}.",) if names else ()
