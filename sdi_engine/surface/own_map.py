"""Whether the UV map that a mesh has can hold a texture. Blender asks, too, before a job starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np  # imported in the function: Blender reads this module when it starts

MAX_TILES = 64
"""A map that repeats the texture over more squares than this shows any of it too small to paint."""

LEAST_COVERED = 0.01
"""A map that covers less of the texture than this has no room for a picture: often all of it is one palette's dots."""

MOST_DEGENERATE = 0.01
"""Share of the surface that may have no area on the map."""

NO_AREA = 1e-12
"""Area of a triangle on the map that has none."""


def why_unfit(uv: np.ndarray, corners: np.ndarray) -> str:
    """Why a map cannot hold a texture, as the beginning of a sentence; empty if it can.

    Args:
        uv: (F, 3, 2), of the triangles' corners.
        corners: (F, 3, 3), their places.
    """
    import numpy as np

    uv, corners = uv.astype(np.float64), corners.astype(np.float64)
    if not np.isfinite(uv).all() or np.abs(uv).max() > 1e4:
        return "The UV map has coordinates that are NaN, infinite or far too large"
    flat = areas_on(uv)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if area[flat < NO_AREA].sum() > MOST_DEGENERATE * max(area.sum(), 1e-300):
        return "Parts of the UV map have no area"
    if flat.sum() > MAX_TILES:
        return f"The UV map repeats its texture {flat.sum():,.0f} times"
    if flat.sum() < LEAST_COVERED:
        return f"The UV map uses only {max(flat.sum(), 0.0001):.2%} of the texture"
    return ""


def areas_on(uv: np.ndarray) -> np.ndarray:
    """The areas (F,) of triangles on a map (F, 3, 2)."""
    import numpy as np

    along, across = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return np.abs(along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]) / 2.0
