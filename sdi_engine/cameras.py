"""Cameras around the object."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .config.cameras import CameraRanges


@dataclass(frozen=True)
class Cameras:
    """B pinhole cameras with square images that look at a point near the origin.

    Attributes:
        azimuth, elevation: (B,), degrees. Azimuth 0 stands on −Y and sees the object's front, 90 stands on +X.
        distance: (B,), from the origin, scene units.
        fov: (B,), vertical, degrees.
        target: (B, 3), the point looked at, scene units.
        shift: (B, 3), from where azimuth, elevation and distance say to where the camera stands, scene units.
        world_up: (B, 3), what is up in the images, of any length.
    """

    azimuth: Tensor
    elevation: Tensor
    distance: Tensor
    fov: Tensor
    target: Tensor
    shift: Tensor
    world_up: Tensor

    def __len__(self) -> int:
        return len(self.azimuth)

    def to(self, device: torch.device) -> Cameras:
        """The same cameras on another device."""
        return Cameras(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    @property
    def position(self) -> Tensor:
        """(B, 3): on a sphere around the origin, but for `shift`."""
        azimuth, elevation = torch.deg2rad(self.azimuth), torch.deg2rad(self.elevation)
        direction = torch.stack(
            [azimuth.sin() * elevation.cos(), -azimuth.cos() * elevation.cos(), elevation.sin()], dim=-1
        )
        return self.distance[:, None] * direction + self.shift

    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """(right, up, forward) of the images, each (B, 3), unit length."""
        forward = F.normalize(self.target - self.position, dim=-1)
        right = F.normalize(torch.linalg.cross(forward, self.world_up), dim=-1)
        return right, torch.linalg.cross(right, forward), forward

    def rays(self, resolution: int) -> tuple[Tensor, Tensor]:
        """Origins and unit directions, each (B, H, W, 3); row 0 is the top of the image, rays pass pixel centres."""
        right, up, forward = self.axes()
        centre = (torch.arange(resolution, device=self.fov.device) + 0.5) / resolution * 2.0 - 1.0
        y, x = torch.meshgrid(-centre, centre, indexing="ij")
        half = torch.tan(torch.deg2rad(self.fov) / 2.0)[:, None, None, None]
        directions = (
            forward[:, None, None]
            + half * x[None, :, :, None] * right[:, None, None]
            + half * y[None, :, :, None] * up[:, None, None]
        )
        directions = F.normalize(directions, dim=-1)
        return self.position[:, None, None].expand_as(directions), directions


def sample(ranges: CameraRanges, count: int, generator: Generator) -> Cameras:
    """`count` cameras around the object, on the generator's device.

    Deviations and a position jitter of 0 draw no random numbers.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape or (count,), generator=generator, device=generator.device)

    def normal(deviation: float) -> Tensor:
        return deviation * torch.randn(count, 3, generator=generator, device=generator.device)

    azimuth = _azimuths(ranges.spread, count, generator)
    fov = uniform(*ranges.fov)
    elevation = uniform(*ranges.elevation)
    if ranges.distance is None:
        distance = uniform(*ranges.half_frame) / torch.tan(torch.deg2rad(fov) / 2.0)
    else:
        distance = uniform(*ranges.distance)
    target = uniform(-ranges.jitter, ranges.jitter, count, 3)
    shift = torch.zeros_like(target)
    world_up = _z_axis(count, target.device)
    if ranges.position_jitter:
        shift = uniform(-ranges.position_jitter, ranges.position_jitter, count, 3)
    if ranges.target_deviation:
        target = target + normal(ranges.target_deviation)
    if ranges.up_deviation:
        world_up = world_up + normal(ranges.up_deviation)
    return Cameras(azimuth, elevation, distance, fov, target, shift, world_up)


def sample_pairs(ranges: CameraRanges, count: int, generator: Generator) -> Cameras:
    """`count` cameras, an even number, in antithetic pairs: φ and φ + 180°, one after the other.

    The two have the same elevation, distance and field of view; their jitter is drawn for each. `ranges.spread` says
    how the pairs stand around the half circle. Source: MV-SDI (Lupascu et al. 2026, arXiv 2606.29964).

    Raises:
        ValueError: the number is odd.
    """
    if count % 2:
        raise ValueError(f"{count} views are no pairs.")
    first, second = (sample(ranges, count // 2, generator) for _ in range(2))
    first = replace(first, azimuth=first.azimuth / 2.0)
    shared = {"elevation": first.elevation, "distance": first.distance, "fov": first.fov}
    second = replace(second, azimuth=first.azimuth + 180.0, **shared)
    return Cameras(
        **{
            field.name: torch.stack([getattr(first, field.name), getattr(second, field.name)], dim=1).flatten(0, 1)
            for field in fields(Cameras)
        }
    )


SAMPLERS: dict[str, Callable[[CameraRanges, int, Generator], Cameras]] = {"spread": sample, "antithetic": sample_pairs}
"""Ways of drawing cameras, by their names in requests (`parameters.VIEWS`)."""


def orbit(ranges: CameraRanges, azimuths_deg: list[float], elevation_deg: float, device: torch.device) -> Cameras:
    """Cameras at given azimuths, with the middle of the ranges for all else: for previews and contact sheets."""
    azimuth = torch.tensor(azimuths_deg, dtype=torch.float32, device=device)
    fov = sum(ranges.fov) / 2.0
    if ranges.distance is None:
        distance = sum(ranges.half_frame) / 2.0 / math.tan(math.radians(fov) / 2.0)
    else:
        distance = sum(ranges.distance) / 2.0
    return Cameras(
        azimuth=azimuth,
        elevation=torch.full_like(azimuth, elevation_deg),
        distance=torch.full_like(azimuth, distance),
        fov=torch.full_like(azimuth, fov),
        target=torch.zeros(len(azimuth), 3, device=device),
        shift=torch.zeros(len(azimuth), 3, device=device),
        world_up=_z_axis(len(azimuth), device),
    )


def _azimuths(spread: str, count: int, generator: Generator) -> Tensor:
    """(count,), degrees in 0…360, as `spread` says."""
    together = {"even": count, "antithetic": 2, "independent": 1}[spread]
    drawn = 360.0 * torch.rand(math.ceil(count / together), 1, generator=generator, device=generator.device)
    turns = 360.0 / together * torch.arange(together, device=generator.device)
    return ((drawn + turns) % 360.0).flatten()[:count]


def _z_axis(count: int, device: torch.device) -> Tensor:
    return torch.tensor([0.0, 0.0, 1.0], device=device).expand(count, 3)
