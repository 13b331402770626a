"""Which texels of an image lie in which triangles of a UV map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..system.occasions import occasion

_Number = TypeVar("_Number", bound=np.generic)

AT_ONCE = 2_000_000
"""Texels that are looked at together: a matter of memory, and a person is heard in between."""

BAND = 256
"""Rows of an image that are filled together, for the same reasons."""

TOLERANCE = 1e-4
"""By so much of a triangle's size texels on its border lie inside, so that none is missed between two triangles."""


def texels(
    uv: NDArray[np.floating], size: int, tolerance: float = TOLERANCE
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
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
    a, b, c = (corners[:, corner] for corner in range(3))
    area = cross(b - a, c - a)
    area[np.abs(area) < 1e-12] = np.nan  # which lies in no triangle: on a line there is no saying where a texel is
    # number by number, which takes half as long as plane vectors do
    (left, top), (b_x, b_y), (c_x, c_y) = (each.T for each in (a, b - a, c - a))

    found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
    of_row, step = repeated(height)  # every row of the bounding box of every triangle
    row_of = low[of_row, 1] + step
    for some in parts(width[of_row]):
        occasion()
        which, across = repeated(width[of_row[some]])
        face, row = of_row[some][which], row_of[some][which]
        column = low[face, 0] + across
        x, y, doubled = column - left[face], row - top[face], area[face]
        weight_b = (x * c_y[face] - y * c_x[face]) / doubled
        weight_c = (b_x[face] * y - b_y[face] * x) / doubled
        inside = (weight_b >= -tolerance) & (weight_c >= -tolerance) & (weight_b + weight_c <= 1.0 + tolerance)
        weight_b, weight_c = weight_b[inside], weight_c[inside]
        weights = np.stack([1.0 - weight_b - weight_c, weight_b, weight_c], axis=-1).astype(np.float32)
        found.append((*(each[inside].astype(np.int32) for each in (face, row, column)), weights))
    nothing = (*(np.zeros(0, np.int32),) * 3, np.zeros((0, 3), np.float32))
    face, row, column, weights = (np.concatenate(each) for each in zip(nothing, *found, strict=True))
    return face, row, column, weights


def parts(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of about `AT_ONCE` things each, for things of which there are so many per item."""
    ends = np.cumsum(counts.clip(0))
    begin = 0
    while begin < len(counts):
        so_far = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, so_far + AT_ONCE, side="right")))
        yield slice(begin, end)
        begin = end


def repeated(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For [2, 0, 3]: [0, 0, 2, 2, 2] and [0, 1, 0, 1, 2]."""
    counts = counts.clip(0)
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)


def texel_coordinates(uv: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """(column, row) of UV coordinates (…, 2); whole numbers are the centres of texels, row 0 is at the top."""
    scaled = uv.astype(np.float64) * size - 0.5
    scaled[..., 1] = (size - 1) - scaled[..., 1]
    return scaled


def nearest_known(known: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each texel (n, n) the row and the column of the nearest known one."""
    rows, columns = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return rows, columns


def taken_from(image: NDArray[_Number], rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[_Number]:
    """An image (n, n, C) whose texels are those of another one in these rows and columns (n, n)."""
    taken = np.empty_like(image)
    for begin in range(0, len(image), BAND):
        occasion()
        band = slice(begin, begin + BAND)
        taken[band] = image[rows[band], columns[band]]
    return taken


def cross(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """The z component of the cross product of plane vectors, (…, 2) → (…)."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
