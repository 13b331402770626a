"""Where matter is: a coarse grid that tells the renderer which samples are worth evaluating."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .field import RadianceField

MIN_OPTICAL_DEPTH = 0.03
"""A cell through which 97 % of the light passes is empty."""

MAX_OPTICAL_DEPTH = 4.0
"""Samples behind matter that lets less than e⁻⁴ (2 %) of the light through are not evaluated."""


class OccupancyGrid(nn.Module):
    """Cells of the field's cube whose density stops some light (`MIN_OPTICAL_DEPTH`), and their neighbours.

    Every update draws one random point in each cell, so that over some updates nothing thin is missed; the highest
    density that a cell remembers fades, as in Instant-NGP (Müller et al. 2022), and the lowest rises.
    """

    def __init__(self, bound: float, resolution: int) -> None:
        super().__init__()
        self.bound = bound
        self.resolution = resolution
        self.register_buffer("density", torch.full((resolution,) * 3, torch.inf))
        self.register_buffer("lowest", torch.zeros((resolution,) * 3))
        self.register_buffer("occupied", torch.ones((resolution,) * 3, dtype=torch.bool))

    @torch.no_grad()
    def update(self, field: RadianceField, generator: Generator, fade: float = 0.6) -> None:
        """Ask the field's density at a random point of every cell.

        Args:
            generator: of n³·3 numbers.
            fade: what is left of the remembered highest density, 0…1.
        """
        n = self.resolution
        corner = torch.arange(n, device=self.density.device, dtype=torch.float32)
        corners = torch.stack(torch.meshgrid(corner, corner, corner, indexing="ij"), dim=-1).view(-1, 3)
        inside = torch.rand(corners.shape, generator=generator, device=generator.device).to(corners)
        points = ((corners + inside) / n * 2.0 - 1.0) * self.bound
        seen = field.density(points).view(n, n, n)
        remembered = torch.where(self.density.isinf(), torch.zeros_like(seen), self.density * fade)
        self.density.copy_(torch.maximum(seen, remembered))
        self.lowest.copy_(torch.minimum(seen, self.lowest * 1.15 + 0.3))
        cell = 2.0 * self.bound / n
        matter = (self.density * cell > MIN_OPTICAL_DEPTH).float()[None, None]
        self.occupied.copy_(F.max_pool3d(matter, kernel_size=3, stride=1, padding=1)[0, 0] > 0.5)

    @property
    def filled_boundary(self) -> float:
        """Share (0…1) of the cells at the cube's faces that stop some light: high where fog fills the volume."""
        n = self.resolution
        boundary = torch.ones_like(self.occupied)
        boundary[1:-1, 1:-1, 1:-1] = False
        return (self.density[boundary] * (2.0 * self.bound / n) > MIN_OPTICAL_DEPTH).float().mean().item()

    def bounding_box(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest corner, each (3,) in scene units, of the box that holds all occupied cells.

        Raises:
            ValueError: none is.
        """
        cells = self.occupied.nonzero()
        if len(cells) == 0:
            raise ValueError("No cell is occupied.")
        edge = 2.0 * self.bound / self.resolution
        return cells.amin(dim=0) * edge - self.bound, (cells.amax(dim=0) + 1) * edge - self.bound

    def visible(self, points: Tensor, step: Tensor) -> Tensor:
        """Which samples along rays are worth evaluating: those in occupied cells which light can reach.

        How much light reaches a sample is estimated from the lowest density that was lately seen in each of the cells
        in front of it, so that a cell which is only partly filled is not taken for a wall.

        Args:
            points: (N, S, 3), ordered along each ray.
            step: (N,), length of a ray's intervals in scene units; 0 for a ray that misses the cube.

        Returns:
            (N, S), bool.
        """
        cell, inside = self._cells(points)
        x, y, z = cell.unbind(-1)
        thickness = self.lowest[x, y, z] * inside * step[:, None]
        in_front = thickness.cumsum(dim=1) - thickness
        return self.occupied[x, y, z] & inside & (in_front < MAX_OPTICAL_DEPTH) & (step[:, None] > 0.0)

    def occupied_at(self, points: Tensor) -> Tensor:
        """(…, 3) → (…), bool: whether a point lies in an occupied cell; outside the cube nothing is."""
        cell, inside = self._cells(points)
        x, y, z = cell.unbind(-1)
        return self.occupied[x, y, z] & inside

    def _cells(self, points: Tensor) -> tuple[Tensor, Tensor]:
        cell = ((points / self.bound + 1.0) * 0.5 * self.resolution).floor().long()
        inside = ((cell >= 0) & (cell < self.resolution)).all(dim=-1)
        return cell.clamp(0, self.resolution - 1), inside
