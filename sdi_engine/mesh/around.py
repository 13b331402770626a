"""What is true of points on or near a mesh, from what is true of its vertices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

NEIGHBOURS = 6
"""Vertices around a point that count, of which a triangle and its neighbours have as many."""


class Around:
    """Means over the vertices around points.

    Args:
        vertices: (V, 3).
    """

    def __init__(self, vertices: NDArray[np.floating]) -> None:
        self._tree = cKDTree(vertices)
        self._count = min(NEIGHBOURS, len(vertices))

    def mean(self, points: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.floating]:
        """(N, C) for points (N, 3) and values of all vertices (V, C): the nearer a vertex, the heavier."""
        distance, vertex = self._tree.query(points, k=range(1, self._count + 1))
        weight = 1.0 / np.square(distance).clip(1e-12)
        return np.einsum("nk,nkc->nc", weight, values[vertex]) / weight.sum(axis=1, keepdims=True)
