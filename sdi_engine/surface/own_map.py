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

TILES_IN_A_ROW = 10
"""Of UDIM tiles, which are counted from 1001 on."""

_NEARLY = 1e-4
"""Of a tile's width: so much nearer to a border than this is on it."""

_PLACES = 5
"""Decimal places of the coordinates on the map that are the same."""


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


def udim_tiles(uv: np.ndarray, corners: np.ndarray) -> int:
    """How many UDIM tiles a map lies in; 1 where it has none, or is unfit anyway (`why_unfit`).

    In a texture that repeats, some island lies across the border of two squares; in UDIM tiles, none does.

    Args:
        uv: (F, 3, 2), of the triangles' corners.
        corners: (F, 3, 3), their places.
    """
    import numpy as np

    if why_unfit(uv, corners):
        return 1
    used = areas_on(uv.astype(np.float64)) >= NO_AREA
    uv, corners = uv[used].astype(np.float64), corners[used]
    low, high = np.floor(uv.min(axis=1) + _NEARLY), np.ceil(uv.max(axis=1) - _NEARLY)
    tiles = np.unique(low, axis=0)
    if len(tiles) < 2 or (high - low > 1.0).any() or low.min() < 0.0 or low[:, 0].max() >= TILES_IN_A_ROW:
        return 1
    one, other = _neighbours_on(uv, corners)
    return 1 if (low[one] != low[other]).any() else len(tiles)


def _neighbours_on(uv: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(E,) each: the triangles that share an edge, on the map as in space, and lie the same way up there."""
    import numpy as np

    points = np.concatenate([np.round(uv, _PLACES), corners], axis=2).reshape(-1, 5)
    order = np.lexsort(points.T)
    differs = np.zeros(len(points), bool)
    differs[1:] = (points[order[1:]] != points[order[:-1]]).any(axis=1)
    number = np.empty(len(points), np.int64)
    number[order] = np.cumsum(differs)
    begin = number.reshape(-1, 3)
    end = np.roll(begin, -1, axis=1)
    edge = (np.minimum(begin, end) * len(points) + np.maximum(begin, end)).ravel()
    order = np.argsort(edge, kind="stable")
    is_shared = edge[order[1:]] == edge[order[:-1]]
    one, other = order[:-1][is_shared] // 3, order[1:][is_shared] // 3
    along, across = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    is_mirrored = along[:, 0] * across[:, 1] < along[:, 1] * across[:, 0]
    same = is_mirrored[one] == is_mirrored[other]
    return one[same], other[same]


def areas_on(uv: np.ndarray) -> np.ndarray:
    """The areas (F,) of triangles on a map (F, 3, 2)."""
    import numpy as np

    along, across = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return np.abs(along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]) / 2.0
