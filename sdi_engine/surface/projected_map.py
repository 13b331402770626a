"""A UV map for meshes of very many triangles, in seconds, where better charts would take minutes.

Charts are connected triangles that face the same of the six directions of the axes, more or less, and are projected
along it; xatlas packs them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, identity

from ..mesh.packing import pack
from ..mesh.topology import connected
from ..system.occasions import occasion
from .islands import shared_edges
from .normals import doubled_areas

MAX_CHARTS = 5_000
"""With more charts the triangles are laid out in a grid: there is no surface to speak of."""

_SMOOTHINGS = 30
_MERGES = 12
_LEAST_TURNED = 0.05
"""The least cosine between a triangle's normal and the direction that it is projected along."""

_DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3)])
_ACROSS = np.array([[1, 2], [2, 0], [0, 1], [2, 1], [0, 2], [1, 0]])
"""The axes that become u and v for each direction; seen from outside, no chart is mirrored."""


def projected_map(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], texture_size: int, padding: int
) -> NDArray[np.float32]:
    """UV coordinates of every corner, (F, 3, 2) in 0…1.

    Args:
        vertices: (V, 3), of a mesh of about unit size.
        padding: pixels between charts.
    """
    chart, direction = _charts(vertices, faces)
    if chart.max() >= MAX_CHARTS:
        return _grid(len(faces))
    corners = np.take_along_axis(vertices[faces], _ACROSS[direction][:, None].repeat(3, axis=1), axis=2)
    # one vertex for each pair of a vertex and a chart
    _, first, numbers = np.unique(
        (faces + chart[:, None] * len(vertices)).ravel(), return_index=True, return_inverse=True
    )
    packed = pack(corners.reshape(-1, 2)[first], numbers.reshape(-1, 3), chart, padding, resolution=texture_size)
    return packed.uv[packed.faces].astype(np.float32)


def _charts(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each triangle's chart, and which of `_DIRECTIONS` it is projected along, (F,) each."""
    normals = doubled_areas(vertices, faces)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-30)
    allowed = normals @ _DIRECTIONS.T >= _LEAST_TURNED
    allowed[~allowed.any(axis=1)] = True  # triangles without an area
    pairs = shared_edges(vertices, faces).face
    there = coo_matrix((np.ones(len(pairs), np.float32), pairs.T), shape=(len(faces), len(faces)))
    neighbours = (there + there.T).tocsr()
    smooth = normals.astype(np.float32)
    spread = neighbours + identity(len(faces), np.float32, format="csr")
    for _ in range(_SMOOTHINGS):
        occasion()
        smooth = spread @ smooth
        smooth /= np.linalg.norm(smooth, axis=1, keepdims=True).clip(1e-12)
    direction = np.where(allowed, smooth @ _DIRECTIONS.T.astype(np.float32), -np.inf).argmax(axis=1)
    few = max(16, len(faces) // 2_000)
    for _ in range(_MERGES):
        occasion()
        chart, size = _pieces(pairs, direction)
        small = size[chart] < few
        if not small.any():
            break
        votes = np.stack([neighbours @ ((direction == each) & ~small).astype(np.float32) for each in range(6)], axis=1)
        votes[~allowed] = 0.0
        joins = small & (votes.max(axis=1) > 0.0)
        direction[joins] = votes[joins].argmax(axis=1)
    return _pieces(pairs, direction)[0], direction


def _pieces(pairs: NDArray[np.int64], direction: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each triangle's piece, whose triangles have one direction, and how many each piece has."""
    same = pairs[direction[pairs[:, 0]] == direction[pairs[:, 1]]]
    piece = connected(same, len(direction))[1].astype(np.int64)
    return piece, np.bincount(piece)


def _grid(count: int) -> NDArray[np.float32]:
    """UV coordinates (count, 3, 2) with a square for every two triangles."""
    across = int(np.ceil(np.sqrt((count + 1) // 2)))
    triangles = np.array([[[0.1, 0.1], [0.8, 0.1], [0.1, 0.8]], [[0.9, 0.9], [0.2, 0.9], [0.9, 0.2]]])
    number = np.arange(count)
    cell = np.stack([number // 2 % across, number // 2 // across], axis=1)
    return ((triangles[number % 2] + cell[:, None]) / across).astype(np.float32)
