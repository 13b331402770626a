"""Going along rays through the occupancy grid by a Warp kernel: its readable twin is `samples.samples_along`.

One kernel finds the samples of each ray, another writes those of all rays side by side; plain torch makes some twenty
tensors of all intervals between the first occupied cell and the last. Where a sample lies on the face of two cells,
rounding may decide otherwise than there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Generator, Tensor

from .. import kernels
from ..threads import run_shares
from .occupancy import MAX_OPTICAL_DEPTH, OccupancyGrid
from .samples import Samples, box_intersection, offsets_within, way_through_cube


def can_be_fused(origins: Tensor) -> bool:
    """Whether `fused_samples_along` may stand in for `samples_along`: Warp is there and works, in single precision."""
    device = origins.device.type
    return origins.dtype == torch.float32 and device in kernels.DEVICES and _works(device)


@torch.no_grad()
def fused_samples_along(
    occupancy: OccupancyGrid, origins: Tensor, directions: Tensor, intervals: int, generator: Generator | None
) -> Samples:
    """As of `samples_along`, with the same random numbers."""
    near, step = way_through_cube(occupancy, origins, directions, intervals)
    offsets = offsets_within(origins, intervals, generator)
    first, end = _intervals_in_box(occupancy, origins, directions, near, step, intervals)
    rays = [origins.contiguous(), directions.contiguous()]
    count = torch.zeros(len(origins), dtype=torch.int32, device=origins.device)
    longest = int((end - first).amax()) if len(origins) else 0
    found = near.new_empty(len(origins), longest)
    grid = [kernels.array(occupancy.occupied.view(torch.uint8)), kernels.array(occupancy.lowest)]
    numbers = [*grid, occupancy.bound, occupancy.resolution]
    _for_each_ray(0, [*rays, near, step, first, end, offsets, count, found], lambda start: numbers)
    until = count.cumsum(0)
    ray = torch.empty(int(until[-1]) if len(until) else 0, dtype=torch.int32, device=origins.device)
    distance, points = near.new_empty(len(ray)), near.new_empty(len(ray), 3)
    written = [kernels.array(ray), kernels.array(distance), kernels.array(points, kernels.warp_module().vec3)]
    _for_each_ray(1, [*rays, count, (until - count).int(), found], lambda start: [start, *written])
    return Samples(origins, directions, step, intervals, ray.long(), distance, points)


def _intervals_in_box(
    occupancy: OccupancyGrid, origins: Tensor, directions: Tensor, near: Tensor, step: Tensor, intervals: int
) -> tuple[Tensor, Tensor]:
    """The first interval of each ray that is in the box of the occupied cells, and the one after the last: (N,), int32;
    equal for a ray that misses it."""
    if not occupancy.occupied.any():
        nowhere = torch.zeros_like(near, dtype=torch.int32)
        return nowhere, nowhere
    entered, left = box_intersection(origins, directions, *occupancy.bounding_box())
    first = ((entered - near) / step).floor().clamp(0, intervals)
    end = ((left - near) / step).ceil().clamp(0, intervals)
    meets = (left > entered) & (step > 0.0)
    return torch.where(meets, first, 0.0).int(), torch.where(meets, end, 0.0).int()


def _for_each_ray(which: int, of_rays: list[Tensor], others: Callable[[int], list[Any]]) -> None:
    """Run a kernel for all rays, given what N rays have, and the rest by the number of the first ray.

    On a processor the rays are shared out among threads.
    """
    vec3, device = kernels.warp_module().vec3, of_rays[0].device

    def launch(start: int, end: int) -> None:
        arrays = [
            kernels.array(each[start:end], vec3 if each.shape[1:] == (3,) and number < 2 else None)
            for number, each in enumerate(of_rays)
        ]
        kernels.launch(_kernels()[which], end - start, [*arrays, *others(start)], device)

    run_shares(launch, len(of_rays[0]), of_rays[-1].numel(), device)


@cache
def _works(device: str) -> bool:
    """Whether the kernel compiles and runs on this type of device; if not, the log says why."""

    def trial() -> None:
        origin, direction = torch.tensor([[0.0, -2.0, 0.0], [0.0, 1.0, 0.0]], device=device).split(1)
        fused_samples_along(OccupancyGrid(1.0, 2).to(device), origin, direction, 4, None)

    return kernels.works(trial)


@cache
def _kernels() -> tuple[Any, Any]:
    """The kernel that finds the samples of each ray, and the one that writes those of all rays side by side."""
    warp = kernels.warp_module()
    most = warp.constant(MAX_OPTICAL_DEPTH)

    @warp.kernel(enable_backward=False, module="sdi_marching")
    def march(
        origins: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        directions: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        near: warp.array(dtype=float),  # type: ignore[valid-type]
        step: warp.array(dtype=float),  # type: ignore[valid-type]
        first: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        end: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        offsets: warp.array2d(dtype=float),  # type: ignore[valid-type]
        count: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        found: warp.array2d(dtype=float),  # type: ignore[valid-type]
        occupied: warp.array3d(dtype=warp.uint8),  # type: ignore[valid-type]
        lowest: warp.array3d(dtype=float),  # type: ignore[valid-type]
        bound: float,
        resolution: int,
    ) -> None:
        ray = warp.tid()
        cells = float(resolution)
        in_front = warp.float32(0.0)
        now = warp.int32(0)
        for interval in range(first[ray], end[ray]):
            if in_front < most:
                distance = near[ray] + step[ray] * float(interval) + step[ray] * offsets[ray, interval]
                point = origins[ray] + distance * directions[ray]
                x = int(warp.floor((point[0] / bound + 1.0) * 0.5 * cells))
                y = int(warp.floor((point[1] / bound + 1.0) * 0.5 * cells))
                z = int(warp.floor((point[2] / bound + 1.0) * 0.5 * cells))
                if warp.min(x, warp.min(y, z)) >= 0 and warp.max(x, warp.max(y, z)) < resolution:
                    if occupied[x, y, z] != warp.uint8(0):
                        found[ray, now] = distance
                        now += 1
                    in_front += lowest[x, y, z] * step[ray]
        count[ray] = now

    @warp.kernel(enable_backward=False, module="sdi_marching")
    def write(
        origins: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        directions: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        count: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        start: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        found: warp.array2d(dtype=float),  # type: ignore[valid-type]
        ray_before: int,
        rays: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        distances: warp.array(dtype=float),  # type: ignore[valid-type]
        points: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
    ) -> None:
        ray = warp.tid()
        for number in range(count[ray]):
            i = start[ray] + number
            rays[i] = ray_before + ray
            distances[i] = found[ray, number]
            points[i] = origins[ray] + found[ray, number] * directions[ray]

    return march, write
