"""Images of a mesh whose vertices move, and how they lead to gradients of its vertices and its colours."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras
from ..radiance.shading import Shading
from ..representation import Safepoint, SurfacePoints
from .edge_gradients import border_term
from .moving_surface import Moved
from .painted_mesh import SUPERSAMPLING, PaintedRendering, Samples
from .rays import Hits


class Coloured(Protocol):
    """A mesh with colours.

    Attributes:
        corners: (F, 3, 3), where its triangles were at first, scene units.
        samples_at_once: at so many points its colours are asked with gradients at once.
    """

    corners: Tensor
    samples_at_once: int

    def colours_at(self, face: Tensor, barycentric: Tensor) -> Tensor:
        """(N, 3), sRGB in 0…1, at points of faces (N,) with the weights (N, 3) of their corners."""


class MovingRendering(PaintedRendering):
    """Images of a mesh whose vertices take gradients, too: from its borders, and from how its surface is lit."""

    def __init__(
        self,
        mesh: Coloured,
        moved: Moved,
        cameras: Cameras,
        resolution: int,
        lamp: Shading | None,
        background: Tensor,
        safepoint: Safepoint,
    ) -> None:
        size = SUPERSAMPLING * resolution
        self._moved = moved
        self._hits: Hits = moved.sight.hits(cameras, size)
        self._directions = cameras.rays(size)[1]
        samples = Samples.of(self._hits, self._directions)
        super().__init__(mesh, cameras, samples, lamp, background, safepoint)
        self._opacity = self._opacity.requires_grad_()
        self._images = self._seen + (1.0 - self._opacity) * background

    @property
    def opacity(self) -> Tensor:
        return self._opacity.detach()

    def surface(self, resolution: int) -> SurfacePoints:
        """The points that the images' own rays hit, where they were at first: the same ones, however they move."""
        samples = self._samples
        corners = self._mesh.corners.index_select(0, samples.face)
        points = (samples.barycentric[..., None] * corners).sum(dim=1)
        return SurfacePoints(samples.everywhere(points), samples.where)

    def backward(self) -> None:
        super().backward()
        if self._seen.grad is None or self._opacity.grad is None:
            return
        gradient = torch.cat([self._seen.grad, self._opacity.grad], dim=1)
        gradient = F.interpolate(gradient, scale_factor=SUPERSAMPLING, mode="nearest") / SUPERSAMPLING**2
        seen = torch.cat([self._colours, torch.ones_like(self._colours[:, :1])], dim=1)
        of_mesh = self._moved.positions, self._moved.surface.faces
        of_rays = self._cameras, self._directions, self._samples.everywhere(seen), gradient.permute(0, 2, 3, 1)
        border_term(self._hits, *of_mesh, *of_rays).backward()
        self._moved.backward()

    def _shaded(self, samples: Samples) -> Tensor:
        colours = self._mesh.colours_at(samples.face, samples.barycentric)
        if self._lamp is None:
            return colours
        normals = self._moved.normals(samples.face, samples.barycentric, samples.direction)
        return self._lamp(colours, normals, samples.direction)
