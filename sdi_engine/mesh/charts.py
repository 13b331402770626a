"""A surface cut into few charts that can be laid flat: hierarchical clustering of its faces by their normals.

After Garland, Willmott and Heckbert (Hierarchical face clustering on polygonal surfaces, 2001): neighbouring clusters
that bend least are merged first. Here they begin as regions that face about the same way, and none may come to bend so
far that it could not be seen whole from one side.
"""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, diags

from ..system.occasions import occasion
from .topology import connected

SMOOTHING = 8
"""So often normals are blended with their neighbours' before faces are told apart: charts shall not end at every
bump."""

WIDEST = 0.4
"""Least cosine of a face's normal to its chart's mean: 66°."""

CRUMB = 0.01
CRUMB_BEYOND = 0.05
"""Charts of a smaller share of the surface are joined to a neighbour even if this share of both is beyond `WIDEST`."""


def charts_of(mesh: trimesh.Trimesh, together: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
    """(F,): which chart each face belongs to, from 0 on; the faces of a chart hang together by their edges.

    Args:
        together: (P, 2), pairs of neighbouring faces that come into the same chart.
    """
    pairs = mesh.face_adjacency
    shared = np.linalg.norm(np.diff(mesh.vertices[mesh.face_adjacency_edges], axis=1)[:, 0], axis=1)
    normals = _blended(mesh, pairs, shared)
    directions = np.array([each for each in itertools.product((-1.0, 0.0, 1.0), repeat=3) if any(each)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    facing = (normals @ directions.T).argmax(axis=1)
    alike = facing[pairs[:, 0]] == facing[pairs[:, 1]]
    joined = pairs[alike] if together is None else np.concatenate([pairs[alike], together])
    count, region = connected(joined, len(normals))
    occasion()
    clusters = _Clusters(normals, mesh.area_faces, region, count)
    of_pairs = region[pairs]
    for (one, other), length in zip(of_pairs.tolist(), shared.tolist(), strict=True):
        if one != other:
            clusters.touch(one, other, length)
    occasion()
    return clusters.merged()


def split(
    mesh: trimesh.Trimesh, faces: NDArray[np.int64], together: NDArray[np.integer] | None = None
) -> NDArray[np.int64]:
    """Cut a chart in two or more across its longer side; returns a number for each of its `faces`.

    Args:
        together: as of `charts_of`.
    """
    centres = mesh.triangles_center
    if together is not None:
        centres = centres.copy()
        centres[together] = centres[together].mean(axis=1, keepdims=True)
    centres = centres[faces]
    centred = centres - centres.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    side = centred @ axes[0] > 0.0
    place = np.full(len(mesh.faces), -1)
    place[faces] = np.arange(len(faces))
    pairs = place[mesh.face_adjacency]
    pairs = pairs[(pairs >= 0).all(axis=1)]
    pairs = pairs[side[pairs[:, 0]] == side[pairs[:, 1]]]
    return connected(pairs, len(faces))[1].astype(np.int64)


def _blended(mesh: trimesh.Trimesh, pairs: NDArray[np.int64], shared: NDArray[np.float64]) -> NDArray[np.float64]:
    """The faces' unit normals, averaged with those across their edges, by the edges' lengths; not across creases."""
    flatness = (mesh.face_normals[pairs[:, 0]] * mesh.face_normals[pairs[:, 1]]).sum(axis=1).clip(0.0)
    weights = np.tile(np.maximum(shared * flatness**2, 1e-12 * shared.max(initial=1e-30)), 2)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    across = coo_matrix((weights, both.T), shape=(len(mesh.faces),) * 2).tocsr()
    across = diags(1.0 / np.asarray(across.sum(axis=1)).reshape(-1).clip(1e-12)) @ across
    normals = mesh.face_normals * mesh.area_faces[:, None]
    for _ in range(SMOOTHING):
        normals = (normals + across @ normals) / 2.0
    return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)


class _Clusters:
    """Clusters of faces, and how they touch; merged in pairs, the least bent first."""

    def __init__(
        self, normals: NDArray[np.float64], areas: NDArray[np.float64], region: NDArray[np.int32], count: int
    ) -> None:
        self._normals, self._areas = normals, areas
        order = np.argsort(region, kind="stable")
        self._faces = np.split(order, np.cumsum(np.bincount(region, minlength=count))[:-1])
        self._sums = [(normals[faces] * areas[faces, None]).sum(axis=0) for faces in self._faces]
        self._area = [float(areas[faces].sum()) for faces in self._faces]
        self._total = max(float(areas.sum()), 1e-30)
        self._neighbours: list[dict[int, float]] = [{} for _ in range(count)]
        self._version = [0] * count

    def touch(self, one: int, other: int, length: float) -> None:
        """Two clusters have an edge of this length in common."""
        self._neighbours[one][other] = self._neighbours[other][one] = self._neighbours[one].get(other, 0.0) + length

    def merged(self) -> NDArray[np.int64]:
        """(F,): the cluster of each face after all merging that is allowed."""
        queue: list[tuple[float, int, int, int, int]] = []
        for one, neighbours in enumerate(self._neighbours):
            occasion()
            self._propose(queue, one, (other for other in neighbours if one < other))
        while queue:
            occasion()
            _, one, other, *versions = heapq.heappop(queue)
            if [self._version[one], self._version[other]] == versions:
                self._merge(one, other)
                self._propose(queue, one, self._neighbours[one])
        cluster = np.empty(len(self._normals), dtype=np.int64)
        for number, faces in enumerate(faces for faces in self._faces if len(faces)):
            cluster[faces] = number
        return cluster

    def _propose(self, queue: list[tuple[float, int, int, int, int]], one: int, others: itertools.chain | dict) -> None:
        for other in others:
            cost = self._cost(one, other)
            if cost is not None:
                heapq.heappush(queue, (cost, one, other, self._version[one], self._version[other]))

    def _cost(self, one: int, other: int) -> float | None:
        """How far both together bend, crumbs before all others; None where they may not be merged."""
        total = self._sums[one] + self._sums[other]
        length, area = float(np.linalg.norm(total)), self._area[one] + self._area[other]
        if length <= 1e-12 * self._total:
            return None
        faces = np.concatenate([self._faces[one], self._faces[other]])
        beyond = float(self._areas[faces][self._normals[faces] @ (total / length) < WIDEST].sum())
        is_crumb = min(self._area[one], self._area[other]) < CRUMB * self._total
        if beyond > (CRUMB_BEYOND * area if is_crumb else 0.0):
            return None
        bend = (area - length) / self._total
        return bend - 1.0 if is_crumb else bend

    def _merge(self, one: int, other: int) -> None:
        self._faces[one] = np.concatenate([self._faces[one], self._faces[other]])
        self._faces[other] = self._faces[other][:0]
        self._sums[one] = self._sums[one] + self._sums[other]
        self._area[one] += self._area[other]
        for each, length in self._neighbours[other].items():
            del self._neighbours[each][other]
            if each != one:
                self.touch(one, each, length)
        self._neighbours[other] = {}
        self._version[one] += 1
        self._version[other] = -1
