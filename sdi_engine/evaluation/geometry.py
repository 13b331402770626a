"""How near a shape is to another: silhouettes, and points on what can be seen of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..starter.render import Surface, orbit, render_layers
from .pictures import ALL_AROUND

ELEVATIONS = (0.0, 30.0, 65.0)
"""From where a shape is looked at, degrees, from all around each time; the highest sees into mugs and onto tables."""

SILHOUETTE_ELEVATIONS = (0.0, 30.0)
POINTS = 4096

_CELL = 0.02
_DEEPEST = 0.03
_SEED = 5


@dataclass(frozen=True)
class Shape:
    """What can be seen of a surface in the canonical pose; lengths in units of the canonical height, which is 1.

    Attributes:
        silhouettes: (16, 64, 64) bool, from `ALL_AROUND` at each of `SILHOUETTE_ELEVATIONS`.
        points: (P, 3) float64, spread over what can be seen from around and from above, P up to `POINTS`. What lies
            inside, where parts overlap, is not there, nor is the underside: nobody sees them.
        normals: (P, 3) unit vectors.
    """

    silhouettes: Tensor
    points: np.ndarray
    normals: np.ndarray

    @classmethod
    def of(cls, surface: Surface) -> Shape:
        """Looks at a surface from all around."""
        # In the place of colours the renderer paints positions, normals and the squared distance from the origin.
        square = (surface.positions**2).sum(dim=1, keepdim=True)
        coded = replace(surface, coefficients=torch.cat([surface.positions, surface.normals, square], dim=1))
        azimuth = torch.tensor(ALL_AROUND).repeat(len(ELEVATIONS))
        elevation = torch.tensor(ELEVATIONS).repeat_interleave(len(ALL_AROUND))
        layers = render_layers(coded, orbit(azimuth, elevation))
        seen = layers[..., 7] > 0.5
        silhouettes = seen[: len(SILHOUETTE_ELEVATIONS) * len(ALL_AROUND)]
        pixels = layers[layers[..., 7] == 1]
        positions, normals = pixels[:, :3], pixels[:, 3:6]
        # A pixel that blends what is near with what is far behind it shows a place where there is nothing.
        variance = pixels[:, 6] - (positions**2).sum(dim=1)
        kept = (variance < _DEEPEST**2) & (normals.norm(dim=1) > 0.5)
        if not kept.any():
            positions, normals = surface.positions, surface.normals
        else:
            positions, normals = positions[kept], normals[kept]
        points, directions = _thinned(positions.double().numpy(), normals.double().numpy())
        return cls(silhouettes, points, directions / np.linalg.norm(directions, axis=1, keepdims=True))


def silhouette_iou(one: Shape, other: Shape) -> float:
    """Intersection over union of two shapes' silhouettes, the mean of all views, 0...1."""
    both = (one.silhouettes & other.silhouettes).sum(dim=(1, 2))
    either = (one.silhouettes | other.silhouettes).sum(dim=(1, 2))
    return float((both / either.clamp(min=1)).mean())


def chamfer(one: Shape, other: Shape) -> tuple[float, float]:
    """How far the points of two shapes lie from each other, and how well their normals agree.

    Returns:
        The Chamfer distance: the mean distance to the nearest point of the other shape, the mean of both directions, in
        units of the canonical height; and the normal consistency: the mean |cosine| of the normals of the same
        neighbours, 0...1 (as in Mescheder et al., Occupancy Networks, 2019).
    """
    distances, cosines = [], []
    for here, there in ((one, other), (other, one)):
        distance, index = cKDTree(there.points).query(here.points)
        distances.append(distance.mean())
        cosines.append(np.abs((here.normals * there.normals[index]).sum(axis=1)).mean())
    return float(np.mean(distances)), float(np.mean(cosines))


def _thinned(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One point of each small cell, `POINTS` of them at most: what many cameras see counts no more than the rest."""
    order = np.random.default_rng(_SEED).permutation(len(points))
    _, first = np.unique(np.floor(points[order] / _CELL).astype(int), axis=0, return_index=True)
    chosen = order[first]
    chosen = np.random.default_rng(_SEED).permutation(chosen)[:POINTS]
    return points[chosen], normals[chosen]
