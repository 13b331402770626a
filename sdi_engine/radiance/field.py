"""The radiance field: multi-resolution dense grids and a small MLP, giving density and albedo at any point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class FieldConfig:
    """
    Attributes:
        bound: the field fills the cube [−bound, bound]³.
        grid_resolutions: vertices along an edge of each level, coarse to fine.
        features: channels of each level.
        hidden: width of the MLP's one hidden layer.
        blob_density: the density which the field starts with at the centre.
        blob_radius: where that soft ball has fallen to nothing, in units of `bound`.
        density_scale: density of a raw output of 1; high enough that a surface is thin against a grid cell.
    """

    bound: float
    grid_resolutions: tuple[int, ...]
    features: int
    hidden: int
    blob_density: float
    blob_radius: float
    density_scale: float = 25.0


class RadianceField(nn.Module):
    """Density (per scene unit of length) and albedo (sRGB, 0…1) at points in the cube [−bound, bound]³.

    Dense grids read by `grid_sample` run on CPU, CUDA and MPS without a compiled extension.
    """

    def __init__(self, config: FieldConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.grids = nn.ParameterList(
            nn.Parameter(1e-2 * torch.randn(1, config.features, n, n, n, generator=generator))
            for n in config.grid_resolutions
        )
        width = config.features * len(config.grid_resolutions)
        self.hidden = nn.Linear(width, config.hidden)
        self.output = nn.Linear(config.hidden, 4)
        for layer in (self.hidden, self.output):
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / layer.in_features), generator=generator)
            nn.init.zeros_(layer.bias)
        self.active_levels = len(config.grid_resolutions)
        """How many levels take part, coarse to fine (`activate_levels`)."""

    def activate_levels(self, progress: float, starts: tuple[float, ...]) -> None:
        """Coarse to fine: level i takes part once progress (0…1) has reached starts[i]."""
        self.active_levels = max(1, sum(progress >= start for start in starts))

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            points: (N, 3) in scene units.

        Returns:
            density (N,), at least 0; albedo (N, 3) in 0…1.
        """
        raw = self._raw(points)
        return self._density(points, raw[:, 0]), torch.sigmoid(raw[:, 1:])

    def density(self, points: Tensor) -> Tensor:
        """(N, 3) → (N,)."""
        return self._density(points, self._raw(points)[:, 0])

    def normal(self, points: Tensor, spacing: float) -> Tensor:
        """Unit normals (N, 3), against the gradient of the density, by central differences over `spacing`.

        Where the density is constant there is no normal: zeros.
        """
        offsets = spacing * torch.eye(3, device=points.device)
        ahead = self.density((points[:, None] + offsets).view(-1, 3)).view(-1, 3)
        behind = self.density((points[:, None] - offsets).view(-1, 3)).view(-1, 3)
        return F.normalize(behind - ahead, dim=-1, eps=1e-6)

    def smoothness(self) -> Tensor:
        """Total variation: mean squared difference of neighbouring grid features, over the active levels."""
        total = torch.zeros((), device=self.grids[0].device)
        for grid in list(self.grids)[: self.active_levels]:
            for axis in (2, 3, 4):
                total = total + grid.diff(dim=axis).square().mean()
        return total

    def _raw(self, points: Tensor) -> Tensor:
        where = (points / self.config.bound).view(1, -1, 1, 1, 3)
        features = []
        for level, grid in enumerate(self.grids):
            if level < self.active_levels:
                sampled = F.grid_sample(grid, where, mode="bilinear", padding_mode="border", align_corners=True)
                features.append(sampled.view(self.config.features, -1).t())
            else:
                features.append(points.new_zeros(len(points), self.config.features))
        return self.output(F.relu(self.hidden(torch.cat(features, dim=1))))

    def _density(self, points: Tensor, raw: Tensor) -> Tensor:
        """Softplus of the raw output plus a soft ball around the centre (Magic3D's blob, Lin et al. 2023).

        Outside the cube there is nothing.
        """
        config = self.config
        distance = points.norm(dim=-1) / config.bound
        blob = 1.0 - distance / config.blob_radius
        density = config.density_scale * F.softplus(raw + config.blob_density * blob.clamp(min=-1.0) - 2.0)
        inside = (points.abs() <= config.bound).all(dim=-1)
        return torch.where(inside, density, torch.zeros_like(density))
