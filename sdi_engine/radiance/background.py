"""What is seen behind the object: plain colours, or a small environment map that is optimised with the field."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from ..config.backgrounds import DARKEST_GREY, WHITE_SHARE

HIDDEN = 16


class EnvironmentMap(nn.Module):
    """A colour for every direction: spherical harmonics up to degree 3, a small MLP, sigmoid.

    threestudio's neural environment map, with the same size of MLP. It has no biases, since the constant harmonic is
    one, and so starts close to grey.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        sizes = (16, HIDDEN, HIDDEN, 3)
        layers = [nn.Linear(*size, bias=False) for size in pairwise(sizes)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / layer.in_features), generator=generator)
        self.network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.Sigmoid())

    def forward(self, directions: Tensor) -> Tensor:
        """Unit directions (…, 3) away from the camera → sRGB (…, 3) in 0…1."""
        return self.network(spherical_harmonics(directions))


def plain_backgrounds(views: int, generator: Generator) -> Tensor:
    """A colour for each view, grey for half of them: (views, 1, 1, 3), sRGB in 0…1, on the generator's device.

    The greys are those that the starter prior knows (`config.backgrounds`).
    """
    device = generator.device
    colour = torch.rand(views, 1, 1, 3, generator=generator, device=device)
    grey = DARKEST_GREY + (1.0 - DARKEST_GREY) * torch.rand(views, 1, 1, 1, generator=generator, device=device)
    is_white = torch.rand(views, 1, 1, 1, generator=generator, device=device) < WHITE_SHARE
    is_grey = torch.rand(views, 1, 1, 1, generator=generator, device=device) < 0.5
    return torch.where(is_grey, grey.masked_fill(is_white, 1.0), colour)


def spherical_harmonics(directions: Tensor) -> Tensor:
    """The 16 real spherical harmonics of degrees 0 to 3, orthonormal over the sphere.

    Args:
        directions: (…, 3), unit length.

    Returns:
        (…, 16), by degree and within it by order; without the Condon–Shortley phase.
    """
    x, y, z = directions.unbind(-1)
    pi = math.pi
    return torch.stack(
        [
            torch.full_like(x, math.sqrt(1 / (4 * pi))),
            math.sqrt(3 / (4 * pi)) * y,
            math.sqrt(3 / (4 * pi)) * z,
            math.sqrt(3 / (4 * pi)) * x,
            math.sqrt(15 / (4 * pi)) * x * y,
            math.sqrt(15 / (4 * pi)) * y * z,
            math.sqrt(5 / (16 * pi)) * (3 * z**2 - 1),
            math.sqrt(15 / (4 * pi)) * x * z,
            math.sqrt(15 / (16 * pi)) * (x**2 - y**2),
            math.sqrt(35 / (32 * pi)) * y * (3 * x**2 - y**2),
            math.sqrt(105 / (4 * pi)) * x * y * z,
            math.sqrt(21 / (32 * pi)) * y * (5 * z**2 - 1),
            math.sqrt(7 / (16 * pi)) * z * (5 * z**2 - 3),
            math.sqrt(21 / (32 * pi)) * x * (5 * z**2 - 1),
            math.sqrt(105 / (16 * pi)) * z * (x**2 - y**2),
            math.sqrt(35 / (32 * pi)) * x * (x**2 - 3 * y**2),
        ],
        dim=-1,
    )
