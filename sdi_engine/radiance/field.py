"""Fields of multi-resolution feature grids and a small MLP; the radiance field gives density and albedo."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config.field import FieldConfig
from .encoding import DenseGrids, FeatureGrids, HashGrids
from .network import two_layers


class GridField(nn.Module):
    """Numbers at points of the cube [−bound, bound]³: multi-resolution feature grids and a small MLP.

    Args:
        outputs: how many numbers.
    """

    def __init__(self, config: FieldConfig, generator: torch.Generator, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.grids = _grids(config, generator)
        width = config.features * len(config.grid_resolutions)
        self.hidden = nn.Linear(width, config.hidden)
        self.output = nn.Linear(config.hidden, outputs)
        for layer in (self.hidden, self.output):
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / layer.in_features), generator=generator)
            nn.init.zeros_(layer.bias)
        self.active_levels = len(config.grid_resolutions)
        """How many levels take part, coarse to fine (`activate_levels`)."""

    def activate_levels(self, progress: float, starts: tuple[float, ...]) -> None:
        """Coarse to fine: level i takes part once progress (0…1) has reached starts[i]."""
        self.active_levels = min(max(1, sum(progress >= start for start in starts)), len(self.grids))

    def smoothness(self) -> Tensor:
        """Total variation: mean squared difference of neighbouring features, over the active levels.

        0, without a gradient, for a field whose levels are hashed.
        """
        return self.grids.smoothness(self.active_levels)

    def _raw(self, points: Tensor, outputs: int | None = None) -> Tensor:
        """What the MLP says at points (N, 3) in scene units: its first outputs or all of them, (N, outputs)."""
        features = self.grids.features_at(points / self.config.bound, self.active_levels)
        return two_layers(features, self.hidden, self.output.weight[:outputs], self.output.bias[:outputs])


class RadianceField(GridField):
    """Density (per scene unit of length) and albedo (sRGB, 0…1) at points in the cube [−bound, bound]³."""

    def __init__(self, config: FieldConfig, generator: torch.Generator) -> None:
        super().__init__(config, generator, 4)

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
        return self._density(points, self._raw(points, outputs=1)[:, 0])

    @property
    def cell(self) -> float:
        """Edge of the finest active level's cells in scene units: a spacing that suits `normal`."""
        return 2.0 * self.config.bound / self.config.grid_resolutions[self.active_levels - 1]

    def normal(self, points: Tensor, spacing: float) -> Tensor:
        """Unit normals (N, 3), against the gradient of the density, by central differences over `spacing`.

        Where the density is constant there is no normal: zeros.
        """
        offsets = spacing * torch.eye(3, device=points.device)
        ahead = self.density((points[:, None] + offsets).view(-1, 3)).view(-1, 3)
        behind = self.density((points[:, None] - offsets).view(-1, 3)).view(-1, 3)
        return F.normalize(behind - ahead, dim=-1, eps=1e-6)

    def _density(self, points: Tensor, raw: Tensor) -> Tensor:
        """Softplus of the raw output plus a ball around the centre. Outside the cube there is nothing."""
        config = self.config
        density = config.density_scale * F.softplus(_with_ball(config, raw, points.norm(dim=-1) / config.bound))
        inside = (points.abs() <= config.bound).all(dim=-1)
        return torch.where(inside, density, torch.zeros_like(density))


def _grids(config: FieldConfig, generator: torch.Generator) -> FeatureGrids:
    if config.log2_table_size is None:
        return DenseGrids(config.grid_resolutions, config.features, generator)
    return HashGrids(config.grid_resolutions, config.features, config.log2_table_size, generator)


def _with_ball(config: FieldConfig, raw: Tensor, distance: Tensor) -> Tensor:
    """Raw outputs (N,) and what makes matter start in the middle, at distances (N,) in units of `bound`.

    A cone (Magic3D's blob, Lin et al. 2023, as in threestudio), or one that ends, with emptiness preferred around it.
    """
    cone = 1.0 - distance / config.blob_radius
    if config.blob == "magic3d":
        return raw + config.blob_density * cone
    return raw + config.blob_density * cone.clamp(min=-1.0) - 2.0
