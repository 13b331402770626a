"""Which texels of an image lie in which triangles of a UV map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TOLERANCE = 1e-4
"""By so much of a triangle's size texels on its border lie inside, so that none is missed between two triangles."""


def texels(
    uv: NDArray[np.floating], size: int, tolerance: float = TOLERANCE
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """All pairs of a triangle and a texel whose centre lies in it.

    Args:
        uv: (F, 3, 2), corners of triangles in 0…1, origin at the image's bottom left.
        size: height and width of the image.
        tolerance: of barycentric coordinates; below 0, texels near the border are left out.

    Returns:
        face, row, column (N,), where row 0 is v = 1; barycentric coordinates (N, 3).
    """
    corners = texel_coordinates(uv, size)
    low = np.floor(corners.min(axis=1)).astype(np.int64).clip(0, size - 1)
    high = np.ceil(corners.max(axis=1)).astype(np.int64).clip(0, size - 1)
    width, height = (high - low + 1).T

    # every texel in the bounding box of every triangle, as one long list
    count = width * height
    face = np.repeat(np.arange(len(count)), count)
    index = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    column = low[face, 0] + index % width[face]
    row = low[face, 1] + index // width[face]

    a, b, c = (corners[:, corner] for corner in range(3))
    area = cross(b - a, c - a)
    area[np.abs(area) < 1e-12] = np.nan  # which lies in no triangle: on a line there is no saying where a texel is
    # number by number, which takes half as long as plane vectors do
    (left, top), (b_x, b_y), (c_x, c_y) = (each.T for each in (a, b - a, c - a))
    x, y, area = column - left[face], row - top[face], area[face]
    weight_b = (x * c_y[face] - y * c_x[face]) / area
    weight_c = (b_x[face] * y - b_y[face] * x) / area
    inside = (weight_b >= -tolerance) & (weight_c >= -tolerance) & (weight_b + weight_c <= 1.0 + tolerance)
    weight_b, weight_c = weight_b[inside], weight_c[inside]
    weights = np.stack([1.0 - weight_b - weight_c, weight_b, weight_c], axis=-1).astype(np.float32)
    return face[inside], row[inside], column[inside], weights


def texel_coordinates(uv: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """(column, row) of UV coordinates (…, 2); whole numbers are the centres of texels, row 0 is at the top."""
    scaled = uv.astype(np.float64) * size - 0.5
    scaled[..., 1] = (size - 1) - scaled[..., 1]
    return scaled


def nearest_known(known: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each texel (n, n) the row and the column of the nearest known one."""
    rows, columns = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return rows, columns


def cross(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """The z component of the cross product of plane vectors, (…, 2) → (…)."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
