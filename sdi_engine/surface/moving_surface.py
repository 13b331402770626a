"""A surface whose vertices are optimised: how far they may go, and where they are in a step."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..mesh.topology import half_edges, welded
from ..representation import ParameterGroup
from .large_steps import LargeSteps
from .sight import Sight

SPREAD = 0.05
"""A step at one vertex takes its neighbours along within about this distance, scene units; an object is about 1."""

MOST_SMOOTHING = 1e4
"""λ of `LargeSteps` where edges are very short."""

STEEPEST = 0.1
"""Cosine between ray and normal, below which the point that is seen is not followed along a surface that turns."""


class MovingSurface(nn.Module):
    """Triangles whose vertices move; those at the same place move together, so that nothing tears.

    Args:
        vertices: (V, 3), scene units.
        faces: (F, 3).
        place: (V,), the number of each vertex's place, from 0 on without gaps.
        is_held: (V,), bool, which vertices stay where they are; others at the same place do, too.
        reach: no vertex ends farther from where it was, scene units; None for no limit.
        normals: (F, 3, 3), unit vectors at the corners, as shaded.
        device: where everything is kept.

    Attributes:
        moves: (P, 3), what is optimised, one vector for each place.
        faces: (F, 3), the places of the corners.
        start: (P, 3), where the places were at first. These two follow from the mesh: no checkpoint has them.
    """

    def __init__(
        self,
        vertices: NDArray[np.float32],
        faces: NDArray[np.integer],
        place: NDArray[np.int64],
        is_held: NDArray[np.bool_],
        reach: float | None,
        normals: NDArray[np.float32],
        device: torch.device,
    ) -> None:
        super().__init__()
        self.reach = reach
        places = int(place.max()) + 1
        held = np.zeros(places, bool)
        held[place[is_held]] = True
        if reach is not None and reach <= 0.0:
            held[:] = True
        first = np.unique(place, return_index=True)[1]
        at = vertices[first]
        of_corner = place[faces]
        self._steps = LargeSteps(of_corner, held, _smoothing(at, of_corner))
        self.moves = nn.Parameter(torch.zeros(places, 3, device=device))
        self.place = torch.from_numpy(place).to(device)
        self.faces = torch.from_numpy(of_corner).to(device)
        self.start = torch.from_numpy(at.astype(np.float32)).to(device)
        # corners that share a normal at a place are smooth there, and their triangles' mean normal is what turns
        group = welded(of_corner.reshape(-1), normals.reshape(-1, 3).round(3))
        self.group = torch.from_numpy(group.reshape(-1, 3)).to(device)
        self._groups = int(group.max()) + 1
        self.normals = torch.from_numpy(normals.astype(np.float32)).to(device)
        self.turned_from = self._group_normals(self.start)[self.group]

    def parameter_group(self, learning_rate: float) -> ParameterGroup:
        """What is optimised, in steps of one size for all vertices."""
        return {"name": "vertices", "params": [self.moves], "lr": learning_rate, "together": True}

    def positions(self) -> Tensor:
        """(P, 3), where the places are now, scene units; differentiable with respect to `moves`."""
        return self.start + self.displacement()

    def displacement(self) -> Tensor:
        """(P, 3), how far the places are from where they were."""
        moved = self._steps.spread(self.moves)
        if self.reach is None:
            return moved
        reach = max(self.reach, 1e-30)
        return moved / (1.0 + (moved / reach).square().sum(dim=-1, keepdim=True)).sqrt()

    def normals_now(self, positions: Tensor) -> Tensor:
        """(F, 3, 3), unit normals at the corners: those of before, turned as the triangles around them have."""
        return F.normalize(self.normals + self._group_normals(positions)[self.group] - self.turned_from, dim=-1)

    def _group_normals(self, positions: Tensor) -> Tensor:
        """(groups, 3), the mean normals of the triangles of each, by area; 0 where they have none."""
        corners = positions[self.faces]
        doubled = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        total = positions.new_zeros(self._groups, 3)
        for corner in range(3):
            total = total.index_add(0, self.group[:, corner], doubled)
        return F.normalize(total, dim=-1, eps=1e-20)


class Moved:
    """The surface in one step.

    Attributes:
        positions: (P, 3), scene units: cut off from the parameters, a leaf that takes the gradients of images.
        sight: what cameras see of it.
    """

    def __init__(self, surface: MovingSurface) -> None:
        self.surface = surface
        self._attached = surface.positions()
        self.positions = self._attached.detach().requires_grad_()
        self.sight = Sight(self.positions.detach()[surface.faces], is_still=False)

    @property
    def is_finite(self) -> bool:
        return bool(self.positions.isfinite().all())

    def normals(self, face: Tensor, barycentric: Tensor, direction: Tensor) -> Tensor:
        """Unit normals (N, 3) where rays hit, as shaded, with gradients: surfaces turn, and points slide along them.

        Args:
            face: (N,).
            barycentric: (N, 3), where on it the rays hit.
            direction: (N, 3), of the rays.
        """
        corners = self.positions[self.surface.faces[face]]
        barycentric = barycentric + _slid(corners, barycentric, direction)
        return F.normalize((barycentric[..., None] * self.surface.normals_now(self.positions)[face]).sum(dim=1), dim=-1)

    def backward(self) -> None:
        """Carry the gradients of the positions into the parameters."""
        if self.positions.grad is not None and self._attached.requires_grad:
            self._attached.backward(self.positions.grad)


def _slid(corners: Tensor, barycentric: Tensor, direction: Tensor) -> Tensor:
    """How the barycentric coordinates (N, 3) of the points where rays hit change with the corners: 0, with gradients.

    The corners' motion takes the point that was hit off the ray; back along the triangle, to the ray, it is the part
    of this motion across the ray that its two edges make up. None for triangles that are seen edge on.
    """
    first, second, third = corners.detach().unbind(dim=1)
    edge_1, edge_2 = second - first, third - first
    normal = torch.linalg.cross(edge_1, edge_2)
    facing = (normal * direction).sum(dim=-1)
    follows = facing.abs() > STEEPEST * normal.norm(dim=-1)
    motion = (barycentric[..., None] * (corners - corners.detach())).sum(dim=1)
    inverse = torch.where(follows, 1.0 / torch.where(follows, facing, 1.0), 0.0)[:, None]
    # motion = a·edge_1 + b·edge_2 + c·direction, by Cramer's rule
    along_1 = (motion * torch.linalg.cross(edge_2, direction)).sum(dim=-1, keepdim=True) * inverse
    along_2 = (motion * torch.linalg.cross(direction, edge_1)).sum(dim=-1, keepdim=True) * inverse
    return torch.cat([along_1 + along_2, -along_1, -along_2], dim=-1)


def _smoothing(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> float:
    """λ with which steps reach as far as `SPREAD`, whatever the length of the mesh's edges."""
    ends = half_edges(faces)
    length = float(np.median(np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)))
    return min((SPREAD / max(length, 1e-12)) ** 2, MOST_SMOOTHING)
