"""Where along rays a field is evaluated: only in the cells of the occupancy grid that light can reach."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from .occupancy import OccupancyGrid


@dataclass(frozen=True)
class Samples:
    """M samples along N rays, ray by ray and on each from the near one to the far one.

    Attributes:
        origins, directions: (N, 3); directions of unit length.
        step: (N,), length of a ray's intervals in scene units.
        intervals: along each ray, of which most are empty.
        ray: (M,) in 0…N − 1, ascending: whose a sample is.
        distance: (M,), from the ray's origin, scene units.
        places: `points`, where they are known already.
    """

    origins: Tensor
    directions: Tensor
    step: Tensor
    intervals: int
    ray: Tensor
    distance: Tensor
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ray)

    @property
    def points(self) -> Tensor:
        """(M, 3), scene units."""
        if self.places is not None:
            return self.places
        return self.origins[self.ray] + self.distance[:, None] * self.directions[self.ray]

    @cached_property
    def first(self) -> Tensor:
        """(N + 1,), int32: where the samples of each ray begin, and M."""
        rays = torch.arange(len(self.origins) + 1, device=self.ray.device)
        return torch.searchsorted(self.ray, rays, out_int32=True)

    def those(self, wanted: Tensor) -> Samples:
        """Some of them, (M,) bool, along the same rays."""
        of_samples = (None if each is None else each[wanted] for each in (self.ray, self.distance, self.places))
        return Samples(self.origins, self.directions, self.step, self.intervals, *of_samples)

    @staticmethod
    def cat(parts: list[Samples]) -> Samples:
        """Samples along the rays of several parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        first, rays = 0, []
        for part in parts:
            rays.append(part.ray + first)
            first += len(part.origins)
        joined = (torch.cat([getattr(part, name) for part in parts]) for name in ("origins", "directions", "step"))
        distance, points = torch.cat([part.distance for part in parts]), torch.cat([part.points for part in parts])
        return Samples(*joined, parts[0].intervals, torch.cat(rays), distance, points)


@torch.no_grad()
def samples_along(
    occupancy: OccupancyGrid, origins: Tensor, directions: Tensor, intervals: int, generator: Generator | None
) -> Samples:
    """The samples along N rays that may be seen.

    Nothing is made of the intervals outside the box of what is occupied but random numbers, so that those of a sample
    do not depend on where matter is.

    Args:
        origins, directions: (N, 3), scene units; directions of unit length.
        intervals: evenly spaced along each ray's way through the cube, one sample in each.
        generator: moves samples within their intervals; None takes the middles.
    """
    near, step = way_through_cube(occupancy, origins, directions, intervals)
    offsets = offsets_within(origins, intervals, generator)
    ray, index = _intervals_in_sight(occupancy, origins, directions, near, step, intervals)
    if len(ray):
        distance = near[ray, None] + step[ray, None] * index + step[ray, None] * offsets[ray[:, None], index]
        points = origins[ray, None] + distance[..., None] * directions[ray, None]
        wanted = occupancy.visible(points, step[ray])
        ray, distance = ray[wanted.nonzero()[:, 0]], distance[wanted]
    else:
        distance = near[ray]
    return Samples(origins, directions, step, intervals, ray, distance)


def _intervals_in_sight(
    occupancy: OccupancyGrid, origins: Tensor, directions: Tensor, near: Tensor, step: Tensor, intervals: int
) -> tuple[Tensor, Tensor]:
    """The rays that meet the box of the occupied cells, (R,), and the numbers of their intervals in it, (R, L).

    As many for all as the longest way through the box needs, each row ascending by one.
    """
    if not occupancy.occupied.any():
        return torch.zeros(0, dtype=torch.long, device=origins.device), torch.zeros(0, 0, device=origins.device)
    entered, left = box_intersection(origins, directions, *occupancy.bounding_box())
    ray = (left > entered).nonzero()[:, 0]
    if not len(ray):
        return ray, ray[:, None]
    first = ((entered - near) / step)[ray].floor().clamp(0, intervals)
    end = ((left - near) / step)[ray].ceil().clamp(0, intervals)
    longest = int((end - first).amax())
    return ray, first.clamp(max=intervals - longest).long()[:, None] + torch.arange(longest, device=origins.device)


def way_through_cube(
    occupancy: OccupancyGrid, origins: Tensor, directions: Tensor, intervals: int
) -> tuple[Tensor, Tensor]:
    """Where rays enter the cube, and the length of their intervals in it: each (N,); 0 for those that miss it."""
    bound = torch.full((3,), occupancy.bound, device=origins.device)
    near, far = box_intersection(origins, directions, -bound, bound)
    return near, (far - near) / intervals


def offsets_within(origins: Tensor, intervals: int, generator: Generator | None) -> Tensor:
    """Where in their intervals the samples of N rays lie, (N, intervals) in 0…1."""
    if generator is None:
        return torch.full((1, 1), 0.5, device=origins.device).expand(len(origins), intervals)
    return torch.rand(len(origins), intervals, generator=generator, device=generator.device).to(origins.device)


def box_intersection(origins: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the box between two corners (3,): each (N,), at least 0; equal where they miss it."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    one, other = (low - origins) / safe, (high - origins) / safe
    near = torch.minimum(one, other).amax(dim=-1).clamp(min=0.0)
    far = torch.maximum(one, other).amin(dim=-1)
    return near, torch.maximum(near, far)
