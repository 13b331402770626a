"""Pictures of results in a higher resolution than the judge's, for people and for CLIP models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..starter.render import POINTS_PER_AREA, Surface, sample_surface
from ..starter.world import Subject, make_instance
from .pictures import TexturedMesh, on_grey, render_around

NORMAL_SIZE = 64
"""Pixels along a picture's edge up to which a surface has enough points."""

TRUTH_SEED = 1


def portraits(mesh: TexturedMesh, azimuths: Sequence[float], size: int, elevation: float = 15.0) -> Tensor:
    """Pictures (V, 3, size, size) in 0…1 of a result on plain light grey.

    Args:
        mesh: the result.
        azimuths: of V cameras, degrees; 0 is in front.
        size: height and width in pixels.
        elevation: of all cameras, degrees above the horizon.
    """
    scale = max(1.0, size / NORMAL_SIZE)
    # a surface gets points in proportion to its area: enlarged it gets more, then it is scaled back
    large = dataclasses.replace(mesh, vertices=mesh.vertices * scale).surface()
    surface = dataclasses.replace(large, positions=large.positions / scale)
    return on_grey(render_around(surface, azimuths, elevation, size))


def truth_portraits(subject: Subject, azimuths: Sequence[float], size: int, elevation: float = 15.0) -> Tensor:
    """Like `portraits`, of one of the world's own things; the same one for the same subject."""
    return on_grey(render_around(_truth(subject, size), azimuths, elevation, size))


def _truth(subject: Subject, size: int) -> Surface:
    instance = make_instance(subject, np.random.default_rng(TRUTH_SEED))
    return sample_surface(instance, POINTS_PER_AREA * max(1.0, size / NORMAL_SIZE) ** 2)
