"""Cameras around the object."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class Cameras:
    """B pinhole cameras with square images that look at a point near the origin, Z up.

    All (B,): azimuth and elevation and fov (vertical) in degrees, distance and the rest in scene units. Azimuth 0
    stands on −Y and sees the object's front, 90 stands on +X. `target` is (B, 3).
    """

    azimuth: Tensor
    elevation: Tensor
    distance: Tensor
    fov: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.azimuth)

    def to(self, device: torch.device) -> Cameras:
        """The same cameras on another device."""
        return Cameras(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    @property
    def position(self) -> Tensor:
        """(B, 3): on a sphere around the origin."""
        azimuth, elevation = torch.deg2rad(self.azimuth), torch.deg2rad(self.elevation)
        direction = torch.stack(
            [azimuth.sin() * elevation.cos(), -azimuth.cos() * elevation.cos(), elevation.sin()], dim=-1
        )
        return self.distance[:, None] * direction

    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """(right, up, forward) of the images, each (B, 3), unit length."""
        forward = F.normalize(self.target - self.position, dim=-1)
        world_up = torch.tensor([0.0, 0.0, 1.0], device=forward.device).expand_as(forward)
        right = F.normalize(torch.linalg.cross(forward, world_up), dim=-1)
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


@dataclass(frozen=True)
class CameraRanges:
    """Where cameras are drawn from, each (low, high), uniformly.

    Attributes:
        elevation: degrees.
        fov: vertical, degrees.
        half_frame: half of the image's height at the origin, in scene units; the distance follows from it and the fov.
        jitter: the point looked at is moved by up to this much on each axis, scene units.
    """

    elevation: tuple[float, float]
    fov: tuple[float, float]
    half_frame: tuple[float, float]
    jitter: float

    def sample(self, count: int, generator: Generator) -> Cameras:
        """`count` cameras spread evenly around the object: one azimuth is drawn, the others follow at equal angles.

        With two that is the antithetic pair φ, φ + 180°.
        """

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(shape or (count,), generator=generator, device=generator.device)

        step = 360.0 / count
        azimuth = (uniform(0.0, 360.0, 1) + step * torch.arange(count, device=generator.device)) % 360.0
        fov = uniform(*self.fov)
        return Cameras(
            azimuth=azimuth,
            elevation=uniform(*self.elevation),
            distance=uniform(*self.half_frame) / torch.tan(torch.deg2rad(fov) / 2.0),
            fov=fov,
            target=uniform(-self.jitter, self.jitter, count, 3),
        )

    def orbit(self, azimuths_deg: list[float], elevation_deg: float, device: torch.device) -> Cameras:
        """Cameras at given azimuths, with the middle of the ranges for all else: for previews and contact sheets."""
        azimuth = torch.tensor(azimuths_deg, device=device)
        fov = sum(self.fov) / 2.0
        distance = sum(self.half_frame) / 2.0 / math.tan(math.radians(fov) / 2.0)
        return Cameras(
            azimuth=azimuth,
            elevation=torch.full_like(azimuth, elevation_deg),
            distance=torch.full_like(azimuth, distance),
            fov=torch.full_like(azimuth, fov),
            target=torch.zeros(len(azimuth), 3, device=device),
        )
