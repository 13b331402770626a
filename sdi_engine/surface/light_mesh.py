"""A light mesh for previews, with colours at its vertices: simplified where there are many triangles, else divided."""

from __future__ import annotations

from dataclasses import dataclass

import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .source import SourceMesh

MOST_DIVISIONS = 32
"""Parts into which an edge is divided at most."""


@dataclass(frozen=True)
class LightMesh:
    """
    Attributes:
        vertices: (V, 3), in the source's place.
        triangles: (M, 3).
        face: (V,), int64, the source's face that a vertex lies on, or next to.
        barycentric: (V, 3), where on it.
        most_triangles: that were allowed.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    face: NDArray[np.int64]
    barycentric: NDArray[np.float32]
    most_triangles: int


def light_mesh(source: SourceMesh, most_triangles: int) -> LightMesh:
    """A mesh of at most so many triangles in the shape of the source."""
    if len(source.faces) > most_triangles:
        return _simplified(source, most_triangles)
    return _divided(source, most_triangles)


def _simplified(source: SourceMesh, most_triangles: int) -> LightMesh:
    # in units of the mesh's size, about its middle: a kilometre away from the origin, millimetres would be lost
    used, corner_of, faces = np.unique(source.faces, return_index=True, return_inverse=True)
    places = source.vertices[used]
    low, high = places.min(axis=0), places.max(axis=0)
    middle, size = (low + high) / 2.0, max(float((high - low).max()), 1e-30)
    around = ((places - middle) / size).astype(np.float32)
    faces = faces.reshape(-1, 3).astype(np.int32)
    vertices, triangles = fast_simplification.simplify(around, faces, target_count=most_triangles)
    if len(triangles) > most_triangles:  # it could not go as far: some of the triangles give an impression
        triangles = triangles[:: -(-len(triangles) // most_triangles)]
    _, nearest = cKDTree(around).query(vertices)
    corner = corner_of[nearest]
    return LightMesh(
        vertices=(vertices * size + middle).astype(np.float32),
        triangles=triangles.astype(np.int32),
        face=corner // 3,
        barycentric=np.eye(3, dtype=np.float32)[corner % 3],
        most_triangles=most_triangles,
    )


def _divided(source: SourceMesh, most_triangles: int) -> LightMesh:
    """Each face in n² triangles."""
    faces = len(source.faces)
    n = min(MOST_DIVISIONS, int((most_triangles / faces) ** 0.5))
    column, row = np.meshgrid(np.arange(n + 1), np.arange(n + 1))
    inside = column + row <= n
    number = np.cumsum(inside).reshape(inside.shape) - 1
    second, third = column[inside] / n, row[inside] / n
    weights = np.stack([1.0 - second - third, second, third], axis=1).astype(np.float32)
    x, y = column[column + row < n], row[column + row < n]
    upright = np.stack([number[y, x], number[y, x + 1], number[y + 1, x]], axis=1)
    x, y = column[column + row < n - 1], row[column + row < n - 1]
    turned = np.stack([number[y, x + 1], number[y + 1, x + 1], number[y + 1, x]], axis=1)
    pattern = np.concatenate([upright, turned])
    vertices = np.einsum("vk,fkc->fvc", weights, source.vertices[source.faces]).reshape(-1, 3)
    return LightMesh(
        vertices=vertices.astype(np.float32),
        triangles=(pattern + len(weights) * np.arange(faces)[:, None, None]).reshape(-1, 3).astype(np.int32),
        face=np.repeat(np.arange(faces), len(weights)),
        barycentric=np.tile(weights, (faces, 1)),
        most_triangles=most_triangles,
    )
