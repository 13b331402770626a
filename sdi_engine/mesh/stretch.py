"""How far UV maps stretch triangles (Sander, Snyder, Gortler and Hoppe, Texture mapping progressive meshes, 2001)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stretches(
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
