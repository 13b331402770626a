"""The normals of a fine mesh for a coarser one that lies closely beside it: those that rays along the coarse one's own
normals meet."""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from .rays import ray_caster

REACH = 0.05
"""The surfaces are so far apart at most, scene units; an object is about 1."""

BEHIND = 1e-4
"""Rays begin so far behind a point, or they would miss a surface that it lies on."""


class NormalsBeside:
    """A `mesh.normal_map.Normals`.

    Args:
        mesh: the fine one, scene units.
    """

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        faces = np.asarray(mesh.faces)
        self._caster = ray_caster(torch.from_numpy(np.asarray(mesh.vertices, np.float32)[faces]))
        self._normals = torch.from_numpy(np.asarray(mesh.vertex_normals, np.float32)[faces])

    def at(self, points: NDArray[np.float32], normals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit normals (N, 3) of the fine mesh where it is nearest to points (N, 3) along normals (N, 3); 0 where it is
        out of reach."""
        found = torch.zeros(len(points), 3)
        nearest = torch.full((len(points),), REACH)
        for direction in (torch.from_numpy(normals), -torch.from_numpy(normals)):
            origins = torch.from_numpy(points) - BEHIND * direction
            hits = self._caster.first_hits(origins[None, None], direction[None, None])
            away = (hits.distance[0, 0] - BEHIND).abs()
            is_nearer = hits.is_hit[0, 0] & (away < nearest)
            found[is_nearer] = hits.interpolate(self._normals)[0, 0, is_nearer]
            nearest = torch.where(is_nearer, away, nearest)
        return torch.nn.functional.normalize(found, dim=-1).numpy()
