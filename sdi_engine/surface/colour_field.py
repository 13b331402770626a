"""Colours all over space, asked on surfaces: the grids and the small network of the radiance field, without density."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from ..config.field import FieldConfig
from ..radiance.field import GridField

FARTHEST_CHANGE = 1.2
"""A change of colour has at most this magnitude; one of 1, from black to white, must not be out of its reach."""


class ColourField(GridField):
    """A colour at any point of the cube [−bound, bound]³, or a change of the colour that is there.

    Args:
        changes: the field starts as no change at all, instead of colours near grey.
    """

    def __init__(self, config: FieldConfig, generator: Generator, changes: bool) -> None:
        super().__init__(config, generator, 3)
        self.changes = changes
        if changes:
            nn.init.zeros_(self.output.weight)

    def forward(self, points: Tensor, before: Tensor) -> Tensor:
        """
        Args:
            points: (N, 3), scene units.
            before: (N, 3), sRGB in 0…1: the colours that are changed; of no account where the field is no change.

        Returns:
            (N, 3), sRGB in 0…1.
        """
        raw = self._raw(points)
        if not self.changes:
            return raw.sigmoid()
        wanted = before + FARTHEST_CHANGE * raw.tanh()
        # clamped, but with a gradient all the same: white must be able to become darker again
        return wanted + (wanted.clamp(0.0, 1.0) - wanted).detach()
