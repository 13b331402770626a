"""Deferred back-propagation: rays are rendered patch by patch, so that memory does not grow with the images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..representation import Safepoint, unwatched
from .field import RadianceField
from .occupancy import OccupancyGrid
from .renderer import UNSEEN, RayColours, find_samples, render_samples
from .samples import Samples
from .shading import Shading

MAX_SAMPLES_PER_PATCH = {"cpu": 786_432, "cuda": 4_194_304, "mps": 786_432}
"""Samples along all rays, empty ones included, whose places are found at once, by type of device."""

MAX_EVALUATED_AT_ONCE = {"cpu": 131_072, "cuda": 524_288, "mps": 131_072}
"""Samples that are evaluated with gradients at once, by type of device."""


def rays_per_patch(device: torch.device, samples_per_ray: int) -> int:
    """How many rays are rendered at once, at least 1."""
    return max(1, MAX_SAMPLES_PER_PATCH[device.type] // samples_per_ray)


@dataclass
class Patches:
    """The rays of one step's images, rendered patch by patch, twice: for the images, and for the field's gradients.

    Only what was seen the first time is evaluated again. Where one patch holds all samples its graph is kept, and
    nothing is rendered twice.

    Attributes:
        origins, directions: (B, H, W, 3), scene units; directions of unit length.
        samples: intervals along a ray.
        seed: of the places of the samples within their intervals.
        size: rays whose samples are found at a time.
        shading: how surfaces are lit; None shows the bare albedo.
        safepoint: called again and again, both times.
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
        self._patches: list[Samples] = []
        self._kept = None
        waiting = self._in_patches()
        first, following = next(waiting), next(waiting, None)
        if following is None:
            self._patches.append(first)
            self._kept = self._rendered(first)[0]
            return self._kept.map(lambda tensor: tensor.view(*shape, -1))
        parts = []
        with torch.no_grad():
            for samples in itertools.chain([first, following], waiting):
                seen, weights = self._rendered(samples)
                self._patches.append(samples.those(weights > UNSEEN))
                parts.append(seen)
        return RayColours.cat(parts).map(lambda tensor: tensor.view(*shape, -1))

    def backward(self, images: RayColours) -> None:
        """Carry the gradients that `images` (B, H, W, …) hold into the field's parameters; once, after `render`."""
        gradients = images.map(lambda tensor: torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).map(
            lambda tensor: tensor.reshape(-1, tensor.shape[-1])
        )
        start = 0
        for number, samples in enumerate(self._patches):
            self.safepoint(number / len(self._patches))
            part = self._kept or self._rendered(samples)[0]
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

    def _rendered(self, samples: Samples) -> tuple[RayColours, Tensor]:
        return render_samples(self.field, samples, self.shading)

    def _in_patches(self) -> Iterator[Samples]:
        """The samples of all rays, in patches of about as many as may be evaluated at once."""
        # of the device itself: there are millions a step, too many to draw on the CPU (docs/evaluation/speed.md)
        random = Generator(self.origins.device).manual_seed(self.seed)
        origins, directions = (rays.reshape(-1, 3).split(self.size) for rays in (self.origins, self.directions))
        collected: list[Samples] = []
        for number, some in enumerate(zip(origins, directions, strict=True)):
            self.safepoint(number / len(origins))
            more = find_samples(self.field, self.occupancy, *some, self.samples, random)
            if collected and sum(map(len, collected)) + len(more) > MAX_EVALUATED_AT_ONCE[more.ray.device.type]:
                yield Samples.cat(collected)
                collected = []
            collected.append(more)
        yield Samples.cat(collected)
