"""Meshes whose edges all lie between two faces, and whose vertices have one fan of faces each.

Collapsing edges or merging vertices may bring parts of a surface together which had nothing to do with each other, such
as the two sides of a thin handle. What was closed before is still as often entered as left across each edge, so such
edges and vertices can be cut apart again, and nothing is open then.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..system.occasions import occasion
from .topology import connected, half_edges, is_triangle, welded

APART = 0.05
"""Vertices that were cut apart move by this share of the way to the middle of their own faces, so that nobody who
welds vertices by their positions joins them again."""


def cut_apart(
    vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """The same surface, with vertices doubled where more than two faces share an edge, or several fans a vertex.

    Solids that touch along an edge come apart; where they hang together at both of its ends all the same, so that it
    would be there twice, they are joined, and the hollows between them come apart. Faces without three different
    vertices, and pairs of faces back to back, are left out.

    Args:
        vertices: (V, 3).
        faces: (F, 3), counter-clockwise seen from outside.

    Returns:
        Vertices, without those that no face has, and faces. Manifold and closed, if on every edge as many faces run one
        way as the other, as in all that was once closed; where they don't, there is a border.
    """
    faces = _without_pairs(faces[is_triangle(faces)].astype(np.int64))
    occasion()
    edge_of = _edges(half_edges(faces))
    crowded = np.flatnonzero(_is_crowded(edge_of))
    begins, ends = half_edges(np.arange(faces.size).reshape(-1, 3)).T
    joined_at = np.zeros(faces.size, dtype=bool)
    while True:
        one, other = _across_edges(vertices, faces, edge_of, joined_at[edge_of])
        occasion()
        touching = np.concatenate([begins[one], ends[one]]), np.concatenate([ends[other], begins[other]])
        count, fan = connected(np.stack(touching, axis=1), faces.size)
        still = _is_crowded(_edges(np.stack([fan[begins[crowded]], fan[ends[crowded]]], axis=1)))
        twice = edge_of[crowded[still]]
        if joined_at[twice].all():
            break
        joined_at[twice] = True
    of_vertex = np.empty(count, dtype=np.int64)
    of_vertex[fan] = faces.reshape(-1)
    new_faces = fan.reshape(-1, 3).astype(np.int64)
    placed = vertices[of_vertex]
    doubled = np.bincount(of_vertex, minlength=len(vertices))[of_vertex] > 1
    if doubled.any():
        middles = np.stack(
            [np.bincount(fan, np.repeat(vertices[faces][..., axis].mean(axis=1), 3), count) for axis in range(3)],
            axis=1,
        ) / np.bincount(fan, minlength=count).reshape(-1, 1)
        placed[doubled] += APART * (middles - placed)[doubled]
    return placed, new_faces


def _without_pairs(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """The faces without those that have the same vertices as one turned the other way."""
    first = faces.argmin(axis=1)
    turned = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    way = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    _, same = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True)
    same = same.reshape(-1)
    surplus = np.bincount(same, way).astype(np.int64)
    kept = np.zeros(len(faces), dtype=bool)
    for sign in (1, -1):
        candidates = np.flatnonzero((way == sign) & (surplus[same] * sign > 0))
        order = candidates[np.argsort(same[candidates], kind="stable")]
        of = same[order]
        rank = np.arange(len(of)) - np.searchsorted(of, of)
        kept[order[rank < surplus[of] * sign]] = True
    return faces[kept]


def _edges(half: NDArray[np.integer]) -> NDArray[np.int64]:
    """The number of the edge that each half-edge (E, 2) belongs to."""
    return welded(np.sort(half, axis=1))


def _is_crowded(edge_of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each half-edge whether its edge has more than two."""
    return (np.bincount(edge_of) > 2)[edge_of]


def _across_edges(
    vertices: NDArray[np.floating],
    faces: NDArray[np.int64],
    edge_of: NDArray[np.int64],
    is_joined: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of half-edges, as `half_edges` counts them, by which two faces meet.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        edge_of: (3 F,), the edge of each half-edge.
        is_joined: (3 F,), whether the solids along it are one.
    """
    half = half_edges(faces)
    forwards = half[:, 0] < half[:, 1]
    count = np.bincount(edge_of)
    balance = np.bincount(edge_of, np.where(forwards, 1, -1))
    plain = ((count == 2) & (balance == 0))[edge_of]
    pairs = []
    for way in (True, False):
        of_way = np.flatnonzero(plain & (forwards == way))
        pairs.append(of_way[np.argsort(edge_of[of_way])])
    one, other = pairs
    crowded = np.flatnonzero(_is_crowded(edge_of))
    crowded = crowded[np.argsort(edge_of[crowded], kind="stable")]
    opposite = np.roll(faces, -2, axis=1).T.reshape(-1)
    more: list[tuple[int, int]] = []
    for group in np.split(crowded, np.flatnonzero(np.diff(edge_of[crowded])) + 1) if len(crowded) else ():
        occasion()
        low, high = np.sort(half[group[0]])
        angles = _angles(vertices[high] - vertices[low], vertices[opposite[group]] - vertices[low])
        around = group[np.argsort(angles)]
        # seen from the other end, hollows are to solids what solids are to hollows
        more += _around_solids(around[::-1] if is_joined[group[0]] else around, forwards)
    if more:
        one = np.concatenate([one, [pair[0] for pair in more]])
        other = np.concatenate([other, [pair[1] for pair in more]])
    return one, other


def _around_solids(group: NDArray[np.int64], forwards: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The two faces of each solid around one edge, whose half-edges are given counter-clockwise around it.

    Outside of a face that runs along the edge is the side that comes next, outside of one against it the side before.
    """
    pairs, begun, done = [], [], set()
    for half_edge in (*group.tolist(), *group.tolist()):
        if half_edge in done or half_edge in begun:
            continue
        if not forwards[half_edge]:
            begun.append(half_edge)
        elif begun:
            pairs.append((half_edge, begun.pop()))
            done.update(pairs[-1])
    return pairs


def _angles(axis: NDArray[np.floating], directions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Angles (N,) of directions (N, 3) around an axis (3,), counter-clockwise seen from its tip."""
    axis = axis / max(float(np.linalg.norm(axis)), 1e-30)
    helper = np.eye(3)[np.abs(axis).argmin()]
    x = np.cross(axis, helper)
    y = np.cross(axis, x)
    return np.arctan2(directions @ y, directions @ x)
