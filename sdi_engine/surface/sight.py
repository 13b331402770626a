"""What cameras see of triangles: drawn or by rays, whichever is faster."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cameras import Cameras
from .rasteriser import can_rasterise, rasterised
from .rays import Hits, RayCaster, ray_caster

TRIANGLES_PER_RAY = 2.0
"""Of more triangles for each ray of an image, a tree that is there already is faster than drawing them all."""


class Sight:
    """Triangles, ready to be seen.

    Args:
        corners: (F, 3, 3), of the triangles, scene units.
        is_still: they will be seen again and again as they are.
    """

    def __init__(self, corners: Tensor, is_still: bool) -> None:
        self.corners = corners
        self._is_still = is_still
        self._caster: RayCaster | None = None

    @torch.no_grad()
    def hits(self, cameras: Cameras, size: int) -> Hits:
        """What the rays of B cameras, (B, n, n), hit first, n being `size`."""
        few = len(self.corners) <= TRIANGLES_PER_RAY * size**2
        if can_rasterise(self.corners.device) and (few or not self._is_still):
            return rasterised(self.corners, cameras, size)
        if self._caster is None:
            self._caster = ray_caster(self.corners)
        return self._caster.first_hits(*cameras.rays(size))
