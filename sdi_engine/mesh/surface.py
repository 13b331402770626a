"""The isosurface of a density field, as a clean triangle mesh."""

from __future__ import annotations

import math

import fast_simplification
import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from ..errors import NoObjectError
from ..radiance.field import RadianceField
from ..radiance.occupancy import OccupancyGrid

MIN_COMPONENT_SHARE = 0.02
"""Pieces whose surface is smaller than this share of the largest piece's are floaters and are left out."""

AGREEMENT_TOLERANCE = 0.002
"""Thresholds whose agreement differs by less are as good as each other."""

NO_OBJECT = "No object emerged from this prompt: try another seed, more steps, or words which the model knows."


def grid_cell(occupancy: OccupancyGrid, resolution: int) -> float:
    """Edge of the cells, in scene units, of which `resolution` fit along the longest edge of what is occupied.

    Raises:
        NoObjectError: nothing is.
    """
    if not occupancy.occupied.any():
        raise NoObjectError(NO_OBJECT)
    low, high = occupancy.bounding_box()
    return (high - low).max().item() / resolution


@torch.no_grad()
def density_grid(field: RadianceField, occupancy: OccupancyGrid, cell: float) -> NDArray[np.float32]:
    """Density at the vertices of a regular grid over what is occupied, indexed x, y, z from the lowest corner on.

    Evaluated only where the occupancy grid says that matter may be; 0 elsewhere.
    """
    device = field.grids[0].device
    low, high = occupancy.bounding_box()
    axes = [
        low[axis] + cell * torch.arange(math.floor((high[axis] - low[axis]).item() / cell + 1.5), device=device)
        for axis in range(3)
    ]
    density = torch.zeros([len(axis) for axis in axes], device=device)
    for index, x in enumerate(axes[0]):
        points = torch.stack(torch.meshgrid(x, *axes[1:], indexing="ij"), dim=-1).view(-1, 3)
        # the last vertex of each axis lies on the box's face; a hair inside counts as inside
        wanted = occupancy.occupied_at(points * (1.0 - 1e-5))
        if wanted.any():
            plane = torch.zeros(len(points), device=device)
            plane[wanted] = field.density(points[wanted])
            density[index] = plane.view(density.shape[1:])
    return density.cpu().numpy()


def automatic_threshold(density: NDArray[np.float32], cell: float) -> float:
    """The isovalue whose solid looks most like the volume, seen along the three axes.

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


def extract_surface(
    field: RadianceField, occupancy: OccupancyGrid, resolution: int, face_budget: int
) -> trimesh.Trimesh:
    """The field's surface: marching cubes, floaters removed, smoothed, simplified to at most `face_budget` triangles.

    Vertices are in scene units, faces counter-clockwise seen from outside.

    Args:
        resolution: cells along the longest edge of the occupied box (`grid_cell`).

    Raises:
        NoObjectError: the field is empty, or fog without a surface.
    """
    cell = grid_cell(occupancy, resolution)
    density = density_grid(field, occupancy, cell)
    if not np.isfinite(density).all():
        raise NoObjectError(NO_OBJECT)
    level = automatic_threshold(density, cell)
    padded = np.pad(density, 1)
    if (density > level).mean() > 0.9:
        raise NoObjectError("The prompt's volume filled with fog, and no object emerged: try another seed.")
    # the logarithm makes the surface vary evenly where the density rises steeply
    vertices, faces = marching_cubes(np.log(padded + 1e-6 * level), float(np.log(level)))
    origin = occupancy.bounding_box()[0].cpu().numpy()
    mesh = trimesh.Trimesh((vertices - 1.0) * cell + origin, faces.astype(np.int64), process=True)
    mesh = _without_floaters(mesh)
    trimesh.smoothing.filter_taubin(mesh, lamb=0.5, nu=0.53, iterations=10)
    mesh = simplified(mesh, face_budget)
    if len(mesh.faces) < 4:
        raise NoObjectError(NO_OBJECT)
    return mesh


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
    """The largest pieces; neither crumbs nor the walls of closed cavities, which nobody can see."""
    pieces = [piece for piece in mesh.split(only_watertight=False) if piece.volume > 0.0]
    if not pieces:
        raise NoObjectError(NO_OBJECT)
    largest = max(piece.area for piece in pieces)
    return trimesh.util.concatenate([piece for piece in pieces if piece.area >= MIN_COMPONENT_SHARE * largest])
