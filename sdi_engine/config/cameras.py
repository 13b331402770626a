"""Where cameras are drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from .limits import Within


@dataclass(frozen=True)
class CameraRanges:
    """Where cameras are drawn from; ranges are (low, high), uniformly. One of half_frame and distance is given.

    Attributes:
        elevation: degrees.
        fov: vertical, degrees.
        half_frame: half of the image's height at the origin, in scene units; the distance follows from it and the fov.
        jitter: the point looked at is moved by up to this much on each axis, scene units.
        distance: from the origin, scene units; how large the object looks then varies with the fov.
        position_jitter: the camera is moved by up to this much on each axis, scene units.
        target_deviation: the point looked at is moved, normally distributed on each axis, scene units.
        up_deviation: so is what is up, a vector of length 1.
        spread: how the views of one step stand around the object: "even" draws one azimuth, and the others follow at
            equal angles; "antithetic" draws one for every pair φ, φ + 180°; "independent" draws one for every view.
    """

    elevation: Annotated[tuple[float, float], Within(-90.0, 90.0)]
    fov: Annotated[tuple[float, float], Within(1.0, 170.0)]
    half_frame: Annotated[tuple[float, float] | None, Within(0.01, 100.0)]
    jitter: float
    distance: Annotated[tuple[float, float] | None, Within(0.01, 100.0)] = None
    position_jitter: float = 0.0
    target_deviation: float = 0.0
    up_deviation: float = 0.0
    spread: Literal["even", "antithetic", "independent"] = "even"

    def __post_init__(self) -> None:
        if (self.half_frame is None) == (self.distance is None):
            raise ValueError("Camera ranges need either half_frame or distance, and not both.")

    @property
    def frame(self) -> float:
        """The image's height at the origin in the middle of the ranges, scene units."""
        if self.distance is None:
            return sum(self.half_frame)
        return sum(self.distance) * math.tan(math.radians(sum(self.fov) / 4.0))
