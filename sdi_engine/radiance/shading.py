"""How surfaces are lit while optimising. Shading gives the model a look at the shape, which flat albedo hides.

DreamFusion (Poole et al. 2022, sec. 3.1): lambertian, with a light near the camera; sometimes without texture, so that
shape cannot hide in paint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

AMBIENT = 0.1
DIFFUSE = 0.9
"""DreamFusion's light: what reaches a surface from everywhere, and what from the lamp."""


@dataclass(frozen=True)
class Shading:
    """
    Attributes:
        mode: "textureless" shows white surfaces, "lit" the albedo.
        light_offset: (3,), scene units; the lamp stands beside the camera, moved by this for every ray of unit length.
        normal_spacing: distance over which the density's gradient is measured, scene units.
    """

    mode: Literal["textureless", "lit"]
    light_offset: Tensor
    normal_spacing: float

    def __call__(self, albedo: Tensor, normal: Tensor, direction: Tensor) -> Tensor:
        """Colours (N, 3) in 0…1 of points with an albedo (N, 3) and a normal (N, 3), on rays of a direction (N, 3).

        Where there is no normal (zeros), only the ambient light is seen.
        """
        towards_light = F.normalize(self.light_offset - direction, dim=-1)
        diffuse = (normal * towards_light).sum(dim=-1, keepdim=True).clamp(min=0.0)
        light = AMBIENT + DIFFUSE * diffuse
        return light.expand_as(albedo) if self.mode == "textureless" else albedo * light
