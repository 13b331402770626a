"""Normals of a mesh that may be open, non-manifold, inside out, or have triangles without an area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..mesh.topology import welded

ALL_BUT_FOLDED = 88.0
"""Degrees: the mean of all faces at a point is no direction away from a face that is turned more than this from it."""

SMOOTH_WITHIN = 40.0
"""Degrees: a corner is smooth where the face is turned less than this from the mean of all faces at the point, and
else flat, so that a ball is round and a cube has edges."""


def corner_normals(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], given: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Unit normals of every corner of every face, (F, 3, 3): the given ones, where they are sound, or else computed.

    Args:
        given: (F, 3, 3), of any length; those that are NaN, infinite or zero are replaced.
    """
    if given is not None:
        length = np.linalg.norm(given, axis=-1, keepdims=True)
        sound = np.isfinite(length) & (length > 1e-6)
        if sound.all():
            return (given / length).astype(np.float32)
        return np.where(sound, given / np.where(sound, length, 1.0), computed_normals(vertices, faces))
    return computed_normals(vertices, faces)


def computed_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals of every corner, (F, 3, 3), by the faces' winding; smooth as `SMOOTH_WITHIN` says.

    Vertices at the same place count as one. A triangle without an area has its neighbours' normals, or else up.
    """
    return _smooth_within(SMOOTH_WITHIN, vertices, faces)


def outward_directions(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit vectors that lead away from the surface, of every corner, (F, 3, 3): the same on both sides of an edge, even
    a sharp one, but not on the two sides of a sheet."""
    return _smooth_within(ALL_BUT_FOLDED, vertices, faces)


def doubled_areas(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float64]:
    """Normals of the faces as long as twice their areas, (F, 3); in units of the mesh's own size, so that neither a
    millimetre nor a kilometre leaves the numbers' range."""
    corners = _corners(vertices, faces)
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def same_places(vertices: NDArray[np.float32]) -> NDArray[np.int64]:
    """The number of each vertex's place, (V,): vertices at exactly the same place have the same number; the lowest have
    the lowest numbers."""
    return welded(vertices[:, ::-1])


def _smooth_within(degrees: float, vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """(F, 3, 3), unit vectors: the mean of all faces at the point, or else the face's own."""
    doubled = doubled_areas(vertices, faces)
    length = np.linalg.norm(doubled, axis=1, keepdims=True)
    flat = doubled / np.where(length > 0.0, length, 1.0)
    point = same_places(vertices)[faces]
    weighted = (flat[:, None] * _angles(vertices, faces)[..., None]).reshape(-1, 3)
    mean = np.stack([np.bincount(point.ravel(), weighted[:, axis]) for axis in range(3)], axis=1)
    size = np.linalg.norm(mean, axis=1, keepdims=True)
    mean /= np.where(size > 0.0, size, 1.0)
    smooth = mean[point]
    is_flat = (smooth * flat[:, None]).sum(axis=-1) < np.cos(np.radians(degrees))
    has_area = length[:, :, None] > 0.0
    normals = np.where(is_flat[..., None] & has_area, flat[:, None], smooth)
    nothing = (normals == 0.0).all(axis=-1)
    normals[nothing] = [0.0, 0.0, 1.0]
    return normals.astype(np.float32)


def _corners(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float64]:
    """(F, 3, 3), in units of the size of all faces together, about one of their corners."""
    corners = (vertices.astype(np.float64) - vertices[faces[0, 0]])[faces]
    return corners / max(np.abs(corners).max(), 1e-300)


def _angles(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float64]:
    """The angle at every corner, (F, 3), radians: with these as weights it does not matter how a quad was halved."""
    corners = _corners(vertices, faces)
    onwards, backwards = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
    across = np.linalg.norm(np.cross(onwards, backwards), axis=-1)
    return np.arctan2(across, (onwards * backwards).sum(axis=-1))
