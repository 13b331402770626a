"""What an artist looks at first in a mesh: whether it is closed, and how its UV map is cut, stretched and packed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..mesh.topology import is_triangle, non_manifold_edges, pieces, welded


@dataclass(frozen=True)
class MeshQuality:
    """The numbers of one mesh.

    Attributes:
        non_manifold_edges: that do not lie between exactly two faces turned the same way: holes have some, and parts
            that touch along an edge.
        charts: pieces of the UV map.
        stretch: of the map from the texture to the surface, 1 where all of it keeps lengths up to one scale: the L²
            stretch of Sander, Snyder, Gortler and Hoppe (Texture mapping progressive meshes, 2001).
        texture_fill: share of the texture that the charts cover, 0...1.
    """

    non_manifold_edges: int
    charts: int
    stretch: float
    texture_fill: float

    @classmethod
    def of(cls, vertices: NDArray[np.floating], faces: NDArray[np.integer], uv: NDArray[np.floating]) -> MeshQuality:
        """The numbers of a mesh whose vertices are split along the seams of its UV map.

        Args:
            vertices: (V, 3), in any unit.
            faces: (F, 3).
            uv: (V, 2) in 0...1.
        """
        solid = welded(vertices)[faces]
        charts, _ = pieces(welded(vertices, uv)[faces[is_triangle(solid)]])
        area, area_uv, squared = _stretches(vertices[faces], uv[faces])
        scale = area_uv.sum() / area.sum() if area.sum() > 0 else 0.0
        return cls(
            non_manifold_edges=len(non_manifold_edges(solid)),
            charts=charts,
            stretch=float(np.sqrt((squared * area).sum() / area.sum() * scale)) if scale else 0.0,
            texture_fill=float(area_uv.sum()),
        )


def _stretches(
    corners: NDArray[np.floating], uv: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each triangle its area on the surface and in the texture, and half the sum of the map's squared singular
    values; 0 for triangles without an area in either.

    Args:
        corners: (F, 3, 3), positions.
        uv: (F, 3, 2).
    """
    p, q = corners.astype(np.float64), uv.astype(np.float64)
    along, across = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    u, v = q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]
    doubled = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    area = np.linalg.norm(np.cross(along, across), axis=1) / 2
    area_uv = np.abs(doubled) / 2
    flat = (area_uv <= 1e-12) | (area <= 1e-12 * area.max(initial=0.0))
    doubled = np.where(flat, np.inf, doubled)[:, None]
    by_u = (along * v[:, 1:] - across * u[:, 1:]) / doubled
    by_v = (across * u[:, :1] - along * v[:, :1]) / doubled
    squared = ((by_u**2).sum(axis=1) + (by_v**2).sum(axis=1)) / 2
    return np.where(flat, 0.0, area), np.where(flat, 0.0, area_uv), squared
