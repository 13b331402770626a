"""The surface of a radiance field: a fine grid of densities where matter is, and a clean mesh of that."""

from __future__ import annotations

import math

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from ..errors import NoObjectError
from ..mesh.surface import NO_OBJECT, surface_of_density
from .field import RadianceField
from .occupancy import OccupancyGrid


def extract_surface(
    field: RadianceField, occupancy: OccupancyGrid, resolution: int, face_budget: int
) -> trimesh.Trimesh:
    """The field's surface (`mesh.surface.surface_of_density`), of at most `face_budget` triangles.

    Vertices are in scene units, faces counter-clockwise seen from outside.

    Args:
        resolution: cells along the longest edge of the occupied box (`grid_cell`).

    Raises:
        NoObjectError: the field is empty, or fog without a surface.
    """
    cell = grid_cell(occupancy, resolution)
    density = density_grid(field, occupancy, cell)
    return surface_of_density(density, cell, occupancy.bounding_box()[0].cpu().numpy(), face_budget)


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
