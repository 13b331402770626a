"""Colours all over space, asked on surfaces: the grids and the small network of the radiance field, without density."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..config.field import FieldConfig
from ..radiance.field import feature_grids

FARTHEST_CHANGE = 1.2
"""A change of colour has at most this magnitude; one of 1, from black to white, must not be out of its reach."""


class ColourField(nn.Module):
    """A colour at any point of the cube [−bound, bound]³, or a change of the colour that is there.

    Args:
        changes: the field starts as no change at all, instead of colours near grey.
    """

    def __init__(self, config: FieldConfig, generator: Generator, changes: bool) -> None:
        super().__init__()
        self.config = config
        self.changes = changes
        self.grids = feature_grids(config, generator)
        self.hidden = nn.Linear(config.features * len(self.grids), config.hidden)
        self.output = nn.Linear(config.hidden, 3)
        for layer in (self.hidden, self.output):
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / layer.in_features), generator=generator)
            nn.init.zeros_(layer.bias)
        if changes:
            nn.init.zeros_(self.output.weight)
        self.active_levels = len(self.grids)
        """How many levels take part, coarse to fine (`activate_levels`)."""

    def activate_levels(self, progress: float, starts: tuple[float, ...]) -> None:
        """Coarse to fine: level i takes part once progress (0…1) has reached starts[i]."""
        self.active_levels = min(max(1, sum(progress >= start for start in starts)), len(self.grids))

    def forward(self, points: Tensor, before: Tensor) -> Tensor:
        """
        Args:
            points: (N, 3), scene units.
            before: (N, 3), sRGB in 0…1: the colours that are changed; of no account where the field is no change.

        Returns:
            (N, 3), sRGB in 0…1.
        """
        features = self.grids.features_at(points / self.config.bound, self.active_levels)
        raw = self.output(F.relu(self.hidden(features)))
        if not self.changes:
            return raw.sigmoid()
        wanted = before + FARTHEST_CHANGE * raw.tanh()
        # clamped, but with a gradient all the same: white must be able to become darker again
        return wanted + (wanted.clamp(0.0, 1.0) - wanted).detach()

    def smoothness(self) -> Tensor:
        """Total variation of the grids over the active levels (`encoding.FeatureGrids.smoothness`)."""
        return self.grids.smoothness(self.active_levels)
