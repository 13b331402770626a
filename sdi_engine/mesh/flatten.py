"""Charts laid flat: least squares conformal maps (Lévy, Petitjean, Ray and Maillot 2002), which keep angles; or charts
seen from one side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, identity
from scipy.sparse.linalg import splu

from ..system.occasions import occasion

THINNEST = 1e-4
"""Triangles that are lower than this, where their base is 1, count as so high: they have next to no say in the map."""

RIDGE = 1e-10
"""Added to the diagonal, whose entries are about 1, so that vertices of triangles without an area have a place, too."""


def flattened(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], chart: NDArray[np.integer]
) -> NDArray[np.float64]:
    """A place in the plane for every vertex, each chart around an origin of its own and as large as on the surface.

    All charts are solved for at once, since they have nothing in common. Two vertices of each, far apart, are pinned.

    Args:
        vertices: (V, 3).
        faces: (F, 3); charts share no vertices.
        chart: (F,), from 0 on.

    Returns:
        (V, 2); counter-clockwise where the surface is seen from outside.
    """
    of_vertex = np.zeros(len(vertices), dtype=np.int64)
    of_vertex[faces] = chart[:, None]
    pinned, places = _pins(vertices, of_vertex, int(chart.max()) + 1)
    # by its longest side: by one without a length a triangle would draw its third corner to the other two
    corners = vertices[faces].astype(np.float64)
    longest = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2).argmax(axis=1)
    turned = (longest[:, None] + np.arange(3)) % 3
    faces = np.take_along_axis(faces, turned, axis=1)
    corners = np.take_along_axis(corners, turned[..., None], axis=1)
    along = corners[:, 1] - corners[:, 0]
    length = np.linalg.norm(along, axis=1).clip(1e-30)
    across = corners[:, 2] - corners[:, 0]
    x = (across * along).sum(axis=1) / length
    y = np.linalg.norm(np.cross(along, across), axis=1) / length
    # the triangle in its own plane: corners 0, length, and x + iy, as complex numbers
    third = x + 1j * y
    opposite = np.stack([third - length, -third, length.astype(complex)], axis=1)
    opposite /= np.sqrt(np.maximum(length * y, THINNEST * length**2))[:, None]
    rows = np.repeat(np.arange(len(faces)), 3)
    system = coo_matrix((opposite.reshape(-1), (rows, faces.reshape(-1))), shape=(len(faces), len(vertices))).tocsc()
    free = np.setdiff1d(np.arange(len(vertices)), pinned)
    known = system[:, pinned] @ places
    left = system[:, free]
    adjoint = left.conj().T
    place = np.zeros(len(vertices), dtype=complex)
    place[pinned] = places
    squared = adjoint @ left + RIDGE * identity(len(free), format="csc")
    place[free] = splu(squared.tocsc()).solve(-(adjoint @ known))
    flat = np.stack([place.real, place.imag], axis=1)
    return flat * _scale(corners, flat[faces], chart)[of_vertex, None]


def projected(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], chart: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The same by looking at each chart along its mean normal: stretched where it bends, but never folded by that."""
    corners = vertices[faces].astype(np.float64)
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    mean = np.stack([np.bincount(chart, doubled[:, axis]) for axis in range(3)], axis=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True).clip(1e-30)
    helper = np.eye(3)[np.abs(mean).argmin(axis=1)]
    right = np.cross(helper, mean)
    right /= np.linalg.norm(right, axis=1, keepdims=True).clip(1e-30)
    up = np.cross(mean, right)
    of_vertex = np.zeros(len(vertices), dtype=np.int64)
    of_vertex[faces] = chart[:, None]
    flat = np.stack([(vertices * axes[of_vertex]).sum(axis=1) for axes in (right, up)], axis=1)
    return flat * _scale(corners, flat[faces], chart)[of_vertex, None]


def _pins(
    vertices: NDArray[np.floating], of_vertex: NDArray[np.int64], charts: int
) -> tuple[NDArray[np.int64], NDArray[np.complex128]]:
    """Two vertices of each chart, the outermost along its longest axis, and their places: their distance apart."""
    pinned, places = [], []
    order = np.argsort(of_vertex, kind="stable")
    for own in np.split(order, np.cumsum(np.bincount(of_vertex, minlength=charts))[:-1]):
        occasion()
        points = vertices[own].astype(np.float64)
        axis = np.ptp(points, axis=0).argmax()
        low, high = own[points[:, axis].argmin()], own[points[:, axis].argmax()]
        pinned += [low, high]
        places += [0.0, np.linalg.norm(vertices[high].astype(np.float64) - vertices[low])]
    return np.array(pinned), np.array(places, dtype=complex)


def _scale(corners: NDArray[np.float64], flat: NDArray[np.float64], chart: NDArray[np.integer]) -> NDArray[np.float64]:
    """By which factor each chart must grow to be as large as its surface."""
    on_surface = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    u, v = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    in_plane = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    return np.sqrt(np.bincount(chart, on_surface) / np.bincount(chart, in_plane).clip(1e-30))
