"""Pictures of results for people, and for models that look closer than the judge: finer than `pictures` alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..starter.render import POINTS_PER_AREA, Surface, sample_surface
from ..starter.world import Subject, make_instance
from .pictures import TexturedMesh, look_around, on_grey

NORMAL_SIZE = 64
"""Pixels along an edge of pictures for which surfaces have points enough."""

TRUTH_SEED = 1


def portraits(mesh: TexturedMesh, azimuths: Sequence[float], size: int, elevation: float = 15.0) -> Tensor:
    """Pictures (V, 3, size, size) in 0…1 of a result, on plain light grey."""
    scale = max(1.0, size / NORMAL_SIZE)
    # surfaces get their points by area: one that is larger gets more, and is made small again
    large = dataclasses.replace(mesh, vertices=mesh.vertices * scale).surface()
    surface = dataclasses.replace(large, positions=large.positions / scale)
    return on_grey(look_around(surface, azimuths, elevation, size))


def truth_portraits(subject: Subject, azimuths: Sequence[float], size: int, elevation: float = 15.0) -> Tensor:
    """Pictures of one of the world's own things, always the same one, as those of `portraits`."""
    return on_grey(look_around(_truth(subject, size), azimuths, elevation, size))


def _truth(subject: Subject, size: int) -> Surface:
    instance = make_instance(subject, np.random.default_rng(TRUTH_SEED))
    return sample_surface(instance, POINTS_PER_AREA * max(1.0, size / NORMAL_SIZE) ** 2)
