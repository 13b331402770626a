"""Distances between shapes: by their silhouettes, and by points on their visible surfaces."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..starter.render import Surface, orbit, render_layers
from .pictures import ALL_AROUND

ELEVATIONS = (0.0, 30.0, 65.0)
"""Elevations in degrees from which a shape is rendered all around; the highest shows the inside of a mug."""

SILHOUETTE_ELEVATIONS = (0.0, 30.0)
POINTS = 4096

_CELL = 0.02
_DEEPEST = 0.03
_SEED = 5


@dataclass(frozen=True)
class Shape:
    """The visible part of a surface in the canonical pose; lengths in units of the canonical height, which is 1.

    Attributes:
        silhouettes: (16, 64, 64) bool, from `ALL_AROUND` at each of `SILHOUETTE_ELEVATIONS`.
        points: (P, 3) float64, P up to `POINTS`, spread over what is visible from all around and from above. The
            underside and surfaces inside, where parts overlap, are left out.
        normals: (P, 3) unit vectors at the points.
    """

    silhouettes: Tensor
    points: np.ndarray
    normals: np.ndarray

    @classmethod
    def of(cls, surface: Surface) -> Shape:
        """The shape of a surface, from renders all around it."""
        # Instead of colours, positions, normals and the squared distance from the origin are rendered.
        square = (surface.positions**2).sum(dim=1, keepdim=True)
        coded = replace(surface, coefficients=torch.cat([surface.positions, surface.normals, square], dim=1))
        azimuth = torch.tensor(ALL_AROUND).repeat(len(ELEVATIONS))
        elevation = torch.tensor(ELEVATIONS).repeat_interleave(len(ALL_AROUND))
        layers = render_layers(coded, orbit(azimuth, elevation))
        seen = layers[..., 7] > 0.5
        silhouettes = seen[: len(SILHOUETTE_ELEVATIONS) * len(ALL_AROUND)]
        pixels = layers[layers[..., 7] == 1]
        positions, normals = pixels[:, :3], pixels[:, 3:6]
        # A pixel that blends a near point with one far behind it has a position where there is no surface.
        variance = pixels[:, 6] - (positions**2).sum(dim=1)
        kept = (variance < _DEEPEST**2) & (normals.norm(dim=1) > 0.5)
        if not kept.any():
            positions, normals = surface.positions, surface.normals
        else:
            positions, normals = positions[kept], normals[kept]
        points, directions = _thinned(positions.double().numpy(), normals.double().numpy())
        return cls(silhouettes, points, directions / np.linalg.norm(directions, axis=1, keepdims=True))


def silhouette_iou(one: Shape, other: Shape) -> float:
    """Intersection over union of two shapes' silhouettes, averaged over all views, 0...1."""
    both = (one.silhouettes & other.silhouettes).sum(dim=(1, 2))
    either = (one.silhouettes | other.silhouettes).sum(dim=(1, 2))
    return float((both / either.clamp(min=1)).mean())


def chamfer(one: Shape, other: Shape) -> tuple[float, float]:
    """The Chamfer distance of two shapes, and the consistency of their normals.

    Returns:
        The Chamfer distance: the mean distance to the nearest point of the other shape, averaged over both directions,
        in units of the canonical height; and the normal consistency: the mean |cosine| between the normals of these
        nearest neighbours, 0...1 (as in Mescheder et al., Occupancy Networks, 2019).
    """
    distances, cosines = [], []
    for here, there in ((one, other), (other, one)):
        distance, index = cKDTree(there.points).query(here.points)
        distances.append(distance.mean())
        cosines.append(np.abs((here.normals * there.normals[index]).sum(axis=1)).mean())
    return float(np.mean(distances)), float(np.mean(cosines))


def _thinned(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One point per small cell, `POINTS` at most, so that what many cameras see has no more weight than the rest."""
    order = np.random.default_rng(_SEED).permutation(len(points))
    _, first = np.unique(np.floor(points[order] / _CELL).astype(int), axis=0, return_index=True)
    chosen = order[first]
    chosen = np.random.default_rng(_SEED).permutation(chosen)[:POINTS]
    return points[chosen], normals[chosen]
