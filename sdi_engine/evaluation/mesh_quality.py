"""What an artist looks at first in a mesh: whether it is closed, and how its UV map is cut, stretched and packed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..mesh.stretch import stretches
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
        area, area_uv, squared = stretches(vertices[faces], uv[faces])
        scale = area_uv.sum() / area.sum() if area.sum() > 0 else 0.0
        return cls(
            non_manifold_edges=len(non_manifold_edges(solid)),
            charts=charts,
            stretch=float(np.sqrt((squared * area).sum() / area.sum() * scale)) if scale else 0.0,
            texture_fill=float(area_uv.sum()),
        )
