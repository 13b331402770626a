"""The isosurface of a grid of densities, as a clean triangle mesh: closed and manifold, and nothing inside."""

from __future__ import annotations

import fast_simplification
import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy import ndimage, sparse

from ..errors import NoObjectError
from ..system.occasions import occasion
from .manifold import cut_apart
from .topology import half_edges, pieces, welded

MIN_COMPONENT_SHARE = 0.02
"""Pieces whose surface is smaller than this share of the largest piece's are floaters and are left out."""

FLAT = 1e-6
"""A piece whose volume is less than this, where its area to the power of 1.5 is 1, has no inside; a ball's is 0.094."""

SHORTEST_EDGE = 1e-3
"""In cells of the grid: nearer vertices are one."""

AGREEMENT_TOLERANCE = 0.002
"""Thresholds whose agreement differs by less are as good as each other."""

NO_OBJECT = "No object emerged from this prompt: try another seed, more steps, or words that the model knows."


def surface_of_density(
    density: NDArray[np.float32], cell: float, origin: NDArray[np.float32], face_budget: int
) -> trimesh.Trimesh:
    """`fine_surface`, simplified to at most `face_budget` faces.

    Raises:
        NoObjectError: the grid is empty, or fog without a surface, or holds NaN or infinite numbers.
    """
    mesh = simplified(fine_surface(density, automatic_threshold(density, cell), cell, origin), face_budget)
    if len(mesh.faces) < 4:
        raise NoObjectError(NO_OBJECT)
    return mesh


def fine_surface(
    density: NDArray[np.float32], level: float, cell: float, origin: NDArray[np.float32]
) -> trimesh.Trimesh:
    """The isosurface at a level, lightly smoothed; closed, manifold, without floaters and inner shells.

    Vertices are in scene units, faces counter-clockwise seen from outside.

    Args:
        density: (x, y, z), at the vertices of a regular grid, finite, per scene unit of length.
        level: the density at the surface (`automatic_threshold`).
        cell: edge of a grid cell in scene units.
        origin: (3,), where the grid's lowest corner is, scene units.

    Raises:
        NoObjectError: it is fog without a surface.
    """
    padded = np.pad(density, 1)
    solid = padded > level
    if solid[1:-1, 1:-1, 1:-1].mean() > 0.9:
        raise NoObjectError("The prompt's volume filled with fog, and no object emerged: try another seed.")
    # hollows that nothing leads to, and whatever is in them
    padded[ndimage.binary_fill_holes(solid) & ~solid] = padded.max()
    occasion()
    # the logarithm makes the surface vary evenly where the density rises steeply
    vertices, faces = marching_cubes(np.log(padded + 1e-6 * level), float(np.log(level)))
    occasion()
    vertices, faces = _without_slivers(vertices, faces)
    occasion()
    mesh = _without_floaters(vertices, faces)
    occasion()
    trimesh.smoothing.filter_taubin(mesh, lamb=0.5, nu=0.53, iterations=10)
    return trimesh.Trimesh((mesh.vertices - 1.0) * cell + origin, mesh.faces, process=False)


def automatic_threshold(density: NDArray[np.float32], cell: float) -> float:
    """The isovalue whose solid has silhouettes closest to the volume's, along the three axes.

    Along each axis the volume's opacity is 1 − exp(−∫ density); where it exceeds one half the volume is seen. A
    threshold's solid is seen where any density exceeds it. The threshold with the best mean intersection over union of
    the two silhouettes is taken, and of several as good the middle one; so thin parts that can be seen are kept and fog
    that cannot is not.

    Args:
        density: (x, y, z), per scene unit of length.
        cell: edge of a grid cell in scene units.

    Raises:
        NoObjectError: nothing can be seen, or the grid holds NaN or infinite numbers.
    """
    if not np.isfinite(density).all():
        raise NoObjectError(NO_OBJECT)
    seen = [1.0 - np.exp(-density.sum(axis=axis) * cell) > 0.5 for axis in range(3)]
    highest = [density.max(axis=axis) for axis in range(3)]
    if not all(silhouette.any() for silhouette in seen):
        raise NoObjectError(NO_OBJECT)
    peak = float(density.max())
    candidates = np.geomspace(0.02 * peak, 0.9 * peak, 40)

    def agreement(level: float) -> float:
        overlaps = []
        for silhouette, maximum in zip(seen, highest, strict=True):
            solid = maximum > level
            overlaps.append((silhouette & solid).sum() / max(1, (silhouette | solid).sum()))
        return float(np.mean(overlaps))

    agreements = np.array([agreement(level) for level in candidates])
    as_good = candidates[agreements >= agreements.max() - AGREEMENT_TOLERANCE]
    return float(as_good[len(as_good) // 2])


def marching_cubes(volume: NDArray[np.floating], level: float) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Vertices (V, 3) in grid units and faces (F, 3), counter-clockwise seen from where the volume is below `level`.

    PyMCubes where this Python has it, else scikit-image: PyMCubes has no ready-made build for Python 3.13 and later.
    """
    try:
        import mcubes
    except ImportError:
        from skimage.measure import marching_cubes as lewiner

        vertices, faces, _, _ = lewiner(volume, level, gradient_direction="ascent")
        return vertices, faces
    return mcubes.marching_cubes(volume, level)


def simplified(mesh: trimesh.Trimesh, face_budget: int) -> trimesh.Trimesh:
    """The mesh with at most `face_budget` triangles, by quadric edge collapse; itself if it has no more.

    Collapsing joins surfaces that come near each other; they are cut apart again, so a closed mesh stays closed and
    manifold (`manifold`).
    """
    if len(mesh.faces) <= face_budget:
        return mesh
    vertices, faces = fast_simplification.simplify(
        np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int32), target_count=face_budget
    )
    occasion()
    place = welded(vertices)
    _, first = np.unique(place, return_index=True)
    return _without_floaters(*cut_apart(vertices[first], place[faces]))


def smoothed(mesh: trimesh.Trimesh, distance: float) -> trimesh.Trimesh:
    """The mesh without bumps that are smaller than a distance; every piece keeps its volume and its middle.

    Each vertex goes half of the way to the mean of its neighbours, so often that what is left is about the surface
    under a Gaussian of this standard deviation, however fine the mesh is.

    Args:
        mesh: closed.
        distance: in the mesh's own lengths; 0 leaves everything as it is.
    """
    if distance == 0.0:
        return mesh
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    ends = half_edges(faces)
    edge = np.sqrt(np.square(vertices[ends[:, 0]] - vertices[ends[:, 1]]).sum(axis=1).mean())
    count = len(vertices)
    neighbours = sparse.coo_matrix((np.ones(len(ends)), ends.T), shape=(count, count)).tocsr()
    halfway = sparse.diags(0.5 / np.asarray(neighbours.sum(axis=1)).ravel()) @ neighbours + 0.5 * sparse.identity(count)
    moved = vertices
    for _ in range(round((2.0 * distance / edge) ** 2)):
        occasion()
        moved = halfway @ moved
    _, piece_of_face = pieces(faces)
    piece = np.zeros(count, np.int64)
    piece[faces] = piece_of_face[:, None]
    before, after = (_volumes(some, faces, piece_of_face) for some in (vertices, moved))
    growth = np.cbrt(np.abs(before) / np.abs(after).clip(1e-30)).clip(0.5, 2.0)
    share = 1.0 / np.bincount(piece)
    old, new = (
        np.stack([np.bincount(piece, some[:, axis]) * share for axis in range(3)], axis=1) for some in (vertices, moved)
    )
    placed = (moved - new[piece]) * growth[piece][:, None] + old[piece]
    return trimesh.Trimesh(placed, faces, process=False)


def _volumes(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], piece: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Of each of the pieces that the faces belong to."""
    corners = vertices[faces]
    return np.bincount(piece, np.linalg.det(corners) / 6.0)


def _without_slivers(
    vertices: NDArray[np.floating], faces: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """The surface without edges too short to be told from none.

    Marching cubes makes them where a density is nearly the threshold at a vertex of the grid.

    Args:
        vertices: (V, 3) in units of the grid.
    """
    place = welded(np.round(vertices / SHORTEST_EDGE))
    _, first = np.unique(place, return_index=True)
    return cut_apart(vertices[first], place[faces])


def _without_floaters(vertices: NDArray[np.floating], faces: NDArray[np.int64]) -> trimesh.Trimesh:
    """The largest pieces, without small debris and without what is inside out or flat, which cannot be seen.

    Raises:
        NoObjectError: nothing is left.
    """
    corners = vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2.0
    count, piece = pieces(faces)
    area = np.bincount(piece, np.linalg.norm(normals, axis=1), count)
    volume = np.bincount(piece, (corners[:, 0] * normals).sum(axis=1) / 3.0, count)
    solid = volume > FLAT * area**1.5
    if not solid.any():
        raise NoObjectError(NO_OBJECT)
    kept = solid & (area >= MIN_COMPONENT_SHARE * area[solid].max())
    faces = faces[kept[piece]]
    used, faces = np.unique(faces, return_inverse=True)
    return trimesh.Trimesh(vertices[used], faces.reshape(-1, 3), process=False)
