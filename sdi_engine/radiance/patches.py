"""Deferred back-propagation: rays are rendered patch by patch, so that memory does not grow with the images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..representation import Safepoint, unwatched
from .field import RadianceField
from .occupancy import OccupancyGrid
from .renderer import RayColours, render_rays
from .shading import Shading

MAX_SAMPLES_PER_PATCH = {"cpu": 786_432, "cuda": 4_194_304, "mps": 786_432}
"""Samples along all rays that are rendered with gradients at once, by type of device."""


def rays_per_patch(device: torch.device, samples_per_ray: int) -> int:
    """How many rays are rendered at once, at least 1."""
    return max(1, MAX_SAMPLES_PER_PATCH[device.type] // samples_per_ray)


@dataclass
class Patches:
    """The rays of one step's images, rendered patch by patch, twice: for the images, and for the field's gradients.

    Where one patch holds all rays its graph is kept, and nothing is rendered twice.

    Attributes:
        origins, directions: (B, H, W, 3), scene units; directions of unit length.
        samples: intervals along a ray.
        seed: of the places of the samples within their intervals; the same both times.
        size: rays at a time.
        shading: how surfaces are lit; None shows the bare albedo.
        safepoint: called before each patch, both times.
    """

    field: RadianceField
    occupancy: OccupancyGrid
    origins: Tensor
    directions: Tensor
    samples: int
    seed: int
    size: int
    shading: Shading | None
    safepoint: Safepoint = unwatched

    def render(self) -> RayColours:
        """All rays, (B, H, W, …)."""
        shape = self.origins.shape[:-1]
        self._kept = None
        if math.prod(shape) <= self.size:
            self._kept = next(self._render_each())
            return self._kept.map(lambda tensor: tensor.view(*shape, -1))
        with torch.no_grad():
            whole = RayColours.cat(list(self._render_each()))
        return whole.map(lambda tensor: tensor.view(*shape, -1))

    def backward(self, images: RayColours) -> None:
        """Carry the gradients that `images` (B, H, W, …) hold into the field's parameters; after `render`."""
        gradients = images.map(lambda tensor: torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).map(
            lambda tensor: tensor.reshape(-1, tensor.shape[-1])
        )
        start = 0
        for part in self._render_each() if self._kept is None else [self._kept]:
            end = start + len(part.opacity)
            tensors, wanted = [], []
            for name in ("rgb", "opacity", "depth", "depth_variance"):
                tensor = getattr(part, name)
                if tensor.requires_grad:
                    tensors.append(tensor)
                    wanted.append(getattr(gradients, name)[start:end])
            if tensors:
                torch.autograd.backward(tensors, wanted)
            start = end

    def _render_each(self) -> Iterator[RayColours]:
        origins = self.origins.reshape(-1, 3).split(self.size)
        directions = self.directions.reshape(-1, 3).split(self.size)
        # of the device itself: there are millions a step, too many to draw on the CPU (docs/evaluation/speed.md)
        random = Generator(self.origins.device).manual_seed(self.seed)
        for number, (some_origins, some_directions) in enumerate(zip(origins, directions, strict=True)):
            self.safepoint(number / len(origins))
            yield render_rays(
                self.field, self.occupancy, some_origins, some_directions, self.samples, random, self.shading
            )
