"""Which side of a mesh is outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..mesh.topology import connected
from .islands import shared_edges


def inside_out(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which triangles look inwards, (F,): those of closed pieces whose volume is negative.

    A piece that is open, or whose triangles do not agree with each other, has no outside that could be told, and the
    walls of a cavity, in a piece that holds them, look inwards rightly: both are left alone.
    """
    edges = shared_edges(vertices, faces)
    count, piece = connected(edges.face, len(faces))
    partners = np.bincount(edges.face.ravel(), minlength=len(faces))
    is_closed = np.ones(count, bool)
    is_closed[piece[partners != 3]] = False
    is_closed[piece[edges.face[edges.disagree, 0]]] = False

    corners = vertices.astype(np.float64)[faces]
    corners -= corners.reshape(-1, 3).mean(axis=0)
    volume = np.bincount(piece, np.linalg.det(corners) / 6.0, count)
    is_negative = is_closed & (volume < 0.0)
    if not is_negative.any():
        return np.zeros(len(faces), bool)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, piece, corners.min(axis=1))
    np.maximum.at(high, piece, corners.max(axis=1))
    outer = np.flatnonzero(is_closed & (volume > 0.0))
    for each in np.flatnonzero(is_negative):
        holds = (low[outer] <= low[each]).all(axis=1) & (high[each] <= high[outer]).all(axis=1)
        is_negative[each] = not holds.any()
    return is_negative[piece]
