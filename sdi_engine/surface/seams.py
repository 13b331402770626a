"""Seams of a UV map: where one edge of the mesh lies at two places of the texture, both have to show one colour.

Each texel has the colour of its own point, but what is seen between texels is interpolated, on the two sides of a seam
from different texels. So the texels beside the seams are changed by as little as makes both sides equal; source: Liu et
al., Seamless: Seam Erasure and Seam-Aware Decoupling of Shape from Mesh Resolution (2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import lsqr

from ..system.occasions import occasion
from .islands import seams_among, shared_edges
from .source import SourceMesh

MAX_POINTS = 2_000_000
"""Points along the seams that are looked at, at most."""

ROUNDS = 12
"""How often the sides are made equal at most. After each time, colours are brought back into their range, and those
that had left it stay where they are for once: their neighbours make up for it."""

EQUAL = 0.5 / 255.0
"""What differs by less than this is equal: the half of a step of eight bits."""

_ITERATIONS = 80


def seam_points(source: SourceMesh, uv: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """UV coordinates (P, 2, 2) of points along the seams, on either side, about one in a texel's length.

    Seams at triangles that are not painted are left out: there one look ends and another begins.

    Args:
        uv: (F, 3, 2).
        size: the texture's width and height in pixels.
    """
    edges = shared_edges(source.vertices, source.faces)
    edges = edges[seams_among(uv, edges) & source.painted_faces[edges.face].all(axis=1)]
    begin, end = (corners.astype(np.float64) for corners in edges.at_ends(uv))
    length = np.linalg.norm(end - begin, axis=-1).max(axis=1, initial=0.0) * size
    count = np.ceil(length).astype(np.int64).clip(1) + 1
    if count.sum() > MAX_POINTS:
        count = np.maximum(2, count * MAX_POINTS // count.sum())
    edge = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    share = (step / (count[edge] - 1))[:, None, None]
    return begin[edge] * (1.0 - share) + end[edge] * share


def seam_difference(texture: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the two sides of each point differ, (P,), in the channel that differs most, of 255.

    Args:
        texture: (n, n, 3), read with bilinear interpolation; it repeats.
        points: (P, 2, 2), as of `seam_points`.
    """
    difference = _differences(points, len(texture)) @ texture.reshape(-1, texture.shape[-1]).astype(np.float64)
    return np.abs(difference).max(axis=1, initial=0.0)


def without_seams(
    texture: NDArray[np.float32], points: NDArray[np.float64], free: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """A texture (n, n, 3) in 0…1 whose two sides are equal at the points (P, 2, 2), changed as little as possible.

    Args:
        free: (n, n), which texels may change.
    """
    matrix = _differences(points, len(texture))
    # where a look that is kept shows through, both sides may well differ
    matrix = matrix[abs(matrix) @ (~free.ravel()).astype(np.float64) == 0.0]
    used = np.unique(matrix.indices)
    matrix = matrix[:, used]
    flat = texture.reshape(-1, texture.shape[-1]).copy()
    for channel in range(flat.shape[1]):
        colours = flat[used, channel].astype(np.float64)
        may_change = np.ones(len(used))
        for _ in range(ROUNDS):
            occasion()
            wrong = matrix @ colours
            if np.abs(wrong).max(initial=0.0) <= EQUAL:
                break
            change = lsqr(matrix @ diags(may_change), wrong, atol=1e-5, btol=1e-5, iter_lim=_ITERATIONS)[0]
            wanted = colours - change
            colours = wanted.clip(0.0, 1.0)
            may_change = (wanted == colours).astype(np.float64)
        flat[used, channel] = colours
    return flat.reshape(texture.shape)


def _differences(points: NDArray[np.float64], size: int) -> csr_matrix:
    """The matrix (P, n²) that takes a texture's texels to the differences of the two sides of each point."""
    x, y = points[..., 0] * size - 0.5, (1.0 - points[..., 1]) * size - 0.5
    left, top = np.floor(x), np.floor(y)
    across, down = x - left, y - top
    indices, weights = [], []
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = (left + right).astype(np.int64) % size, (top + below).astype(np.int64) % size
        indices.append(row * size + column)
        weights.append((across if right else 1.0 - across) * (down if below else 1.0 - down) * [1.0, -1.0])
    of_point = np.broadcast_to(np.arange(len(points))[:, None, None], (len(points), 2, 4))
    matrix = csr_matrix(
        (np.stack(weights, axis=-1).ravel(), (of_point.ravel(), np.stack(indices, axis=-1).ravel())),
        shape=(len(points), size * size),
    )
    matrix.eliminate_zeros()
    return matrix
