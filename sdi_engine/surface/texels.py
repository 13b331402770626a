"""Which point of the surface each texel shows.

Texels are numbered row by row from the top (v = 1): row · n + column. A texel's centre in a chart shows the chart's
point there; beyond a chart's border its texels go on for `RING` texels as if the border's triangle went on, so that
bilinear filtering finds the right colours at the border too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..mesh.texels import AT_ONCE, cross, nearest_known, parts, repeated, taken_from, texel_coordinates
from ..system.occasions import occasion

RING = 2.0
"""Texels beyond a chart's border that show the continued surface. Bilinear filtering reads up to 1.4 away."""

MAX_STEP = 4.0
"""The surface is continued by at most so many times the length that a texel usually shows."""

_EDGE = 1e-4
"""Texels this little outside a triangle still belong to it, so that rounding leaves no gaps between triangles."""


@dataclass(frozen=True)
class Texels:
    """The texels of all charts with the rings around them, T of n × n; each once, in ascending order.

    Attributes:
        size: n, the texture's width and height.
        index: (T,), row · n + column.
        face: (T,), the triangle.
        barycentric: (T, 3), weights of its corners, which sum to 1; below 0 in the ring.
        inside: (T,), whether the texel's centre lies in the chart, or it is the one texel of a tiny triangle.
    """

    size: int
    index: NDArray[np.int64]
    face: NDArray[np.int32]
    barycentric: NDArray[np.float32]
    inside: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.index)

    def blended(self, corners: NDArray[np.float32], part: slice = slice(None)) -> NDArray[np.float32]:
        """What every corner has, (F, 3, C), at the texels: (T, C)."""
        return np.einsum("tk,tkc->tc", self.barycentric[part], corners[self.face[part]])


def texels_of(uv: NDArray[np.float32], size: int, rank: NDArray[np.integer], corners: NDArray[np.float32]) -> Texels:
    """The texels of a UV map; outside 0…1 the texture repeats.

    Args:
        uv: (F, 3, 2), finite.
        size: the texture's width and height in pixels.
        rank: (F,), of the triangles that claim one texel that with the lowest rank has it.
        corners: (F, 3, 3), the triangles' corners in space, which say how far a texel is from another.
    """
    order = np.argsort(-rank, kind="stable")
    winner = np.full(size * size, -1, np.int32)
    centre = np.zeros((size * size, 2), np.int32)
    has_texel = np.zeros(len(uv), bool)
    pixels = texel_coordinates(uv, size)
    for face, column, row in claims(pixels, order):
        index = row % size * size + column % size
        winner[index] = face
        centre[index] = np.stack([column, row], axis=1)
        has_texel[face] = True
    tiny = np.flatnonzero(~has_texel)
    middle = np.rint(pixels[tiny].mean(axis=1)).astype(np.int64)
    index = middle[:, 1] % size * size + middle[:, 0] % size
    free = winner[index] < 0
    winner[index[free]] = tiny[free]
    centre[index[free]] = middle[free]

    index = np.flatnonzero(winner >= 0)
    face = winner[index]
    barycentric = np.empty((len(index), 3))
    for begin in range(0, len(index), AT_ONCE):
        occasion()
        some = slice(begin, begin + AT_ONCE)
        weights = _barycentric(pixels[face[some]], centre[index[some]].astype(np.float64)).clip(0.0, 1.0)
        barycentric[some] = weights / weights.sum(axis=1, keepdims=True)
    del centre
    occasion()
    ring, nearest = _ring(winner.reshape(size, size) >= 0)
    position = np.full(size * size, -1, np.int64)
    position[index] = np.arange(len(index))
    source = position[nearest]
    continued = _continued(pixels, corners, face[source], barycentric[source], _offset(ring, nearest, size))
    everything = np.concatenate([index, ring])
    ascending = np.argsort(everything)
    return Texels(
        size=size,
        index=everything[ascending],
        face=np.concatenate([face, face[source]])[ascending],
        barycentric=np.concatenate([barycentric.astype(np.float32), continued.astype(np.float32)])[ascending],
        inside=np.concatenate([np.ones(len(index), bool), np.zeros(len(ring), bool)])[ascending],
    )


def filled(texels: Texels, colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """A texture (n, n, C) of the texels' colours (T, C), and of the nearest chart's elsewhere, so that smaller versions
    of the picture (mip maps) show no background either."""
    n = texels.size
    image = np.zeros((n * n, colours.shape[1]), np.float32)
    image[texels.index] = colours
    known = np.zeros(n * n, bool)
    known[texels.index] = True
    if known.all() or not known.any():
        return image.reshape(n, n, -1)
    return taken_from(image.reshape(n, n, -1), *nearest_known(known.reshape(n, n)))


def claims(
    pixels: NDArray[np.float64], order: NDArray[np.integer]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """All texels whose centres lie in a triangle: the triangles' numbers, columns and rows, in parts.

    Triangles come in the given order, and those without an area have none. Columns and rows may lie outside the
    picture, where the texture repeats.

    Args:
        pixels: (F, 3, 2), as of `texel_coordinates`.
    """
    order = order[np.abs(_signed_areas(pixels[order])) > 1e-9]
    low, high = pixels[..., 1].min(axis=1)[order], pixels[..., 1].max(axis=1)[order]
    first = np.ceil(low - _EDGE).astype(np.int64)
    rows = np.floor(high + _EDGE).astype(np.int64) - first + 1
    for some in parts(rows):
        which, step = repeated(rows[some])
        face = order[some][which]
        row = first[some][which] + step
        left, right = _crossings(pixels[face], row.clip(low[some][which], high[some][which]))
        begin = np.ceil(left - _EDGE).astype(np.int64)
        columns = np.floor(right + _EDGE).astype(np.int64) - begin + 1
        for few in parts(columns):
            occasion()
            across, step = repeated(columns[few])
            yield face[few][across], begin[few][across] + step, row[few][across]


def _crossings(
    pixels: NDArray[np.float64], row: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the boundaries of triangles (N, 3, 2) cross the lines y = row, (N,): the least and the greatest x."""
    left, right = np.full(len(row), np.inf), np.full(len(row), -np.inf)
    for corner in range(3):
        (x0, y0), (x1, y1) = pixels[:, corner].T, pixels[:, (corner + 1) % 3].T
        slope = y1 - y0
        crosses = (np.minimum(y0, y1) <= row) & (row <= np.maximum(y0, y1)) & (slope != 0.0)
        share = (row - y0) / np.where(slope == 0.0, 1.0, slope)
        x = x0 + share.clip(0.0, 1.0) * (x1 - x0)
        left = np.where(crosses, np.minimum(left, x), left)
        right = np.where(crosses, np.maximum(right, x), right)
    nothing = left > right
    return np.where(nothing, 0.5, left), np.where(nothing, 0.4, right)


def _barycentric(corners: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) for triangles (N, 3, 2) and points (N, 2); the middle of triangles without an area."""
    a, b, c = (corners[:, corner] for corner in range(3))
    area = _signed_areas(corners)
    has_area = np.abs(area) > 1e-9
    area = np.where(has_area, area, 1.0)
    weight_b = cross(point - a, c - a) / area
    weight_c = cross(b - a, point - a) / area
    weights = np.stack([1.0 - weight_b - weight_c, weight_b, weight_c], axis=1)
    return np.where(has_area[:, None], weights, 1.0 / 3.0)


def _ring(known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The texels at most `RING` from a known one, and the nearest known one of each; numbers, as in `Texels`."""
    near = ndimage.binary_dilation(known, iterations=int(np.ceil(RING))) & ~known
    if not near.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    distance, (row, column) = ndimage.distance_transform_edt(~known, return_indices=True)
    ring = np.flatnonzero(near & (distance <= RING))
    return ring, row.ravel()[ring].astype(np.int64) * known.shape[1] + column.ravel()[ring]


def _offset(ring: NDArray[np.int64], nearest: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    return np.stack([ring % size - nearest % size, ring // size - nearest // size], axis=1).astype(np.float64)


def _continued(
    pixels: NDArray[np.float64],
    corners: NDArray[np.float32],
    face: NDArray[np.integer],
    barycentric: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Barycentric coordinates (N, 3) of what lies `offset` texels (N, 2) away in the triangle's own plane."""
    flat = pixels[face]
    middle = flat.mean(axis=1)
    change = _barycentric(flat, middle + offset) - _barycentric(flat, middle)
    step = np.linalg.norm(np.einsum("nk,nkc->nc", change, corners[face].astype(np.float64)), axis=1)
    edges = corners[:, 1:] - corners[:, :1]
    surface = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).sum()
    usual = np.sqrt(surface / max(np.abs(_signed_areas(pixels)).sum(), 1e-12))
    allowed = MAX_STEP * usual * np.linalg.norm(offset, axis=1)
    return barycentric + change * np.minimum(1.0, allowed / step.clip(1e-30))[:, None]


def _signed_areas(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the areas of triangles (N, 3, 2)."""
    return cross(pixels[:, 1] - pixels[:, 0], pixels[:, 2] - pixels[:, 0])
