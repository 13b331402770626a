"""The isosurface of a grid of densities, as a clean triangle mesh."""

from __future__ import annotations

import fast_simplification
import numpy as np
import trimesh
from numpy.typing import NDArray

from ..errors import NoObjectError

MIN_COMPONENT_SHARE = 0.02
"""Pieces whose surface is smaller than this share of the largest piece's are floaters and are left out."""

AGREEMENT_TOLERANCE = 0.002
"""Thresholds whose agreement differs by less are as good as each other."""

NO_OBJECT = "No object emerged from this prompt: try another seed, more steps, or words that the model knows."


def surface_of_density(
    density: NDArray[np.float32], cell: float, origin: NDArray[np.float32], face_budget: int
) -> trimesh.Trimesh:
    """The isosurface at the automatic threshold: floaters removed, smoothed, simplified to at most `face_budget` faces.

    Vertices are in scene units, faces counter-clockwise seen from outside.

    Args:
        density: (x, y, z), at the vertices of a regular grid, per scene unit of length.
        cell: edge of a grid cell in scene units.
        origin: (3,), where the grid's lowest corner is, scene units.

    Raises:
        NoObjectError: the grid is empty, or fog without a surface, or holds NaN or infinite numbers.
    """
    if not np.isfinite(density).all():
        raise NoObjectError(NO_OBJECT)
    level = automatic_threshold(density, cell)
    padded = np.pad(density, 1)
    if (density > level).mean() > 0.9:
        raise NoObjectError("The prompt's volume filled with fog, and no object emerged: try another seed.")
    # the logarithm makes the surface vary evenly where the density rises steeply
    vertices, faces = marching_cubes(np.log(padded + 1e-6 * level), float(np.log(level)))
    mesh = trimesh.Trimesh((vertices - 1.0) * cell + origin, faces.astype(np.int64), process=True)
    mesh = _without_floaters(mesh)
    trimesh.smoothing.filter_taubin(mesh, lamb=0.5, nu=0.53, iterations=10)
    mesh = simplified(mesh, face_budget)
    if len(mesh.faces) < 4:
        raise NoObjectError(NO_OBJECT)
    return mesh


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
        NoObjectError: nothing can be seen.
    """
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
    """The mesh with at most `face_budget` triangles, by quadric edge collapse; itself if it has no more."""
    if len(mesh.faces) <= face_budget:
        return mesh
    vertices, faces = fast_simplification.simplify(
        np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int32), target_count=face_budget
    )
    return trimesh.Trimesh(vertices, faces, process=True)


def _without_floaters(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The largest components, without small debris and without the walls of closed cavities, which cannot be seen."""
    pieces = [piece for piece in mesh.split(only_watertight=False) if piece.volume > 0.0]
    if not pieces:
        raise NoObjectError(NO_OBJECT)
    largest = max(piece.area for piece in pieces)
    return trimesh.util.concatenate([piece for piece in pieces if piece.area >= MIN_COMPONENT_SHARE * largest])
