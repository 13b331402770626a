"""Islands of a UV map and the seams between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..mesh.topology import connected
from .normals import same_places


@dataclass(frozen=True)
class Edges:
    """E edges that two triangles share: the numbers of the two, and of the corners of each where the edge begins and
    ends, such that both begin at the same place.

    Attributes:
        face: (E, 2).
        begin, end: (E, 2), 0, 1 or 2.
    """

    face: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    def __getitem__(self, which: NDArray[np.bool_]) -> Edges:
        return Edges(self.face[which], self.begin[which], self.end[which])

    @property
    def disagree(self) -> NDArray[np.bool_]:
        """(E,), which edges both triangles pass in the same direction, so that one of the two is turned over."""
        forwards = (self.begin + 1) % 3 == self.end
        return forwards[:, 0] == forwards[:, 1]

    def at_ends(self, corners: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """What every corner has, (F, 3, C), at the beginnings and at the ends, (E, 2, C) each: for both triangles."""
        return corners[self.face, self.begin], corners[self.face, self.end]


def shared_edges(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> Edges:
    """All edges that exactly two triangles share.

    Two triangles share an edge if it has the same two vertices or, where that makes no pair, vertices at the same two
    places; so the front and the back of a sheet are not taken for neighbours as long as their vertices differ.
    """
    first = _pairs(faces.astype(np.int64))
    taken = np.zeros((len(faces), 3), bool)
    taken[first.face, _edge_number(first)] = True
    place = same_places(vertices)[faces]
    second = _pairs(place, ~taken)
    return Edges(
        *(np.concatenate([getattr(each, name) for each in (first, second)]) for name in ("face", "begin", "end"))
    )


def islands_of(uv: NDArray[np.float32], edges: Edges) -> NDArray[np.int64]:
    """The number of each triangle's island, (F,): triangles that share an edge with the same UV coordinates on both
    sides, and lie the same way up, are on one island."""
    joined = edges[~seams_among(uv, edges)]
    mirrored = is_mirrored(uv)
    joined = joined[mirrored[joined.face[:, 0]] == mirrored[joined.face[:, 1]]]
    return connected(joined.face, len(uv))[1].astype(np.int64)


def seams_among(uv: NDArray[np.float32], edges: Edges) -> NDArray[np.bool_]:
    """(E,), which edges have different UV coordinates on their two sides."""
    begin, end = edges.at_ends(uv)
    return (np.abs(np.stack([begin[:, 0] - begin[:, 1], end[:, 0] - end[:, 1]])) > 1e-6).any(axis=(0, 2))


def is_mirrored(uv: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(F,), which triangles show the texture mirrored."""
    along, across = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return along[:, 0] * across[:, 1] < along[:, 1] * across[:, 0]


def _pairs(points: NDArray[np.int64], wanted: NDArray[np.bool_] | None = None) -> Edges:
    """The edges that two of the triangles (F, 3) of numbered points share; `wanted` (F, 3): which are looked at."""
    begin, end = points.ravel(), np.roll(points, -1, axis=1).ravel()
    sound = begin != end
    if wanted is not None:
        sound &= wanted.ravel()
    edge = np.flatnonzero(sound)
    low, high = np.minimum(begin[edge], end[edge]), np.maximum(begin[edge], end[edge])
    key = low * (points.max() + 1) + high
    order = np.argsort(key, kind="stable")
    key, edge = key[order], edge[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.zeros(0, np.int64)
    counts = np.diff(np.concatenate([starts, [len(key)]]))
    starts = starts[counts == 2]
    pair = np.stack([edge[starts], edge[starts + 1]], axis=1) if len(starts) else np.zeros((0, 2), np.int64)
    corner = pair % 3
    following = (corner + 1) % 3
    turned = begin[pair[:, 0]] != begin[pair[:, 1]]
    corner[turned, 1], following[turned, 1] = following[turned, 1], corner[turned, 1].copy()
    return Edges(pair // 3, corner, following)


def _edge_number(edges: Edges) -> NDArray[np.int64]:
    """(E, 2), which of its triangle's edges each is: number k leads from corner k to the next."""
    return np.where((edges.begin + 1) % 3 == edges.end, edges.begin, edges.end)
