"""How the triangles of a mesh hang together."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def welded(*attributes: NDArray[np.number]) -> NDArray[np.int64]:
    """For each vertex the number of the place where it is, the same for all with exactly the same attributes.

    Args:
        attributes: each (V, …), such as the positions, or positions and UVs; V may be 0.

    Returns:
        (V,), from 0 on without gaps, in the order of the first attribute's first number, then of the second, and so on.
    """
    flat = [np.asarray(each).reshape(len(each), math.prod(each.shape[1:])) for each in attributes]
    columns = [column for each in flat for column in each.T]
    order = np.lexsort(columns[::-1])
    differs = np.zeros(len(order), dtype=bool)
    for column in columns:
        differs[1:] |= column[order[1:]] != column[order[:-1]]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.cumsum(differs)
    return place


def non_manifold_edges(faces: NDArray[np.integer]) -> NDArray[np.int64]:
    """The edges that do not lie between exactly two faces which are turned the same way: borders too.

    Args:
        faces: (F, 3), welded; those with a vertex twice have no area and are left out.

    Returns:
        (E, 2), the lower vertex first.
    """
    half = half_edges(faces[is_triangle(faces)])
    edges, edge_of = np.unique(np.sort(half, axis=1), axis=0, return_inverse=True)
    edge_of = edge_of.reshape(-1)
    forwards = half[:, 0] < half[:, 1]
    each_way = [np.bincount(edge_of[way], minlength=len(edges)) for way in (forwards, ~forwards)]
    return edges[(each_way[0] != 1) | (each_way[1] != 1)]


def half_edges(faces: NDArray[np.integer]) -> NDArray[np.integer]:
    """(3 F, 2): the edges from corner 0 to 1 of all faces, then those from 1 to 2, then from 2 to 0."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def connected(pairs: NDArray[np.integer], count: int) -> tuple[int, NDArray[np.int32]]:
    """How many groups `count` things are in, if those of each pair (E, 2) are together, and (count,), each one's."""
    graph = coo_matrix((np.ones(len(pairs), dtype=bool), pairs.T), shape=(count, count))
    return connected_components(graph, directed=False)


def is_triangle(faces: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(F,): whether a face has three different vertices."""
    a, b, c = faces.T
    return (a != b) & (b != c) & (c != a)


def pieces(faces: NDArray[np.integer]) -> tuple[int, NDArray[np.int32]]:
    """How many pieces there are, of faces that share edges, and (F,), which one each face belongs to."""
    half = np.sort(half_edges(faces), axis=1)
    face = np.tile(np.arange(len(faces)), 3)
    order = np.lexsort(half.T)
    half, face = half[order], face[order]
    same = (half[1:] == half[:-1]).all(axis=1)
    count, piece = connected(np.stack([face[:-1][same], face[1:][same]], axis=1), len(faces))
    return int(count), piece
