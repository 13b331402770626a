"""Going along rays through the occupancy grid by a Warp kernel: its readable twin is `samples.samples_along`.

The kernel counts the samples of each ray, and then writes them down; plain torch makes some twenty tensors of all
intervals between the first occupied cell and the last. Where a sample lies on the face of two cells, rounding may
decide otherwise than there.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Generator, Tensor

from .. import kernels
from ..threads import run_each, shares
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
    of_rays = [origins.contiguous(), directions.contiguous(), near, step, first, end, offsets]
    count = torch.zeros(len(origins), dtype=torch.int32, device=origins.device)
    _march(occupancy, [*of_rays, count], None)
    until = count.cumsum(0)
    ray = torch.empty(int(until[-1]) if len(until) else 0, dtype=torch.int32, device=origins.device)
    distance = torch.empty_like(ray, dtype=torch.float32)
    _march(occupancy, [*of_rays, (until - count).int()], (ray, distance))
    return Samples(origins, directions, step, intervals, ray.long(), distance)


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


def _march(occupancy: OccupancyGrid, of_rays: list[Tensor], found: tuple[Tensor, Tensor] | None) -> None:
    """Run the kernel for all rays, given what N of them have: to count (None), or to write down ray and distance, (M,).

    On a processor the rays are shared out among threads.
    """
    warp = kernels.warp_module()

    device = of_rays[0].device
    dtypes = (warp.vec3, warp.vec3, None, None, None, None, None, None)
    grid = [kernels.array(occupancy.occupied.view(torch.uint8)), kernels.array(occupancy.lowest)]
    ray, distance = found or (of_rays[-1][:0], of_rays[2][:0])
    numbers = [occupancy.bound, occupancy.resolution, int(found is not None)]

    def march(start: int, end: int) -> None:
        arrays = [kernels.array(each[start:end], dtype) for each, dtype in zip(of_rays, dtypes, strict=True)]
        everything = [*arrays, *grid, *numbers, start, kernels.array(ray), kernels.array(distance)]
        kernels.launch(_kernel(), end - start, everything, device)

    run_each(march, shares(len(of_rays[0]), device), of_rays[-2].numel(), device)


@cache
def _works(device: str) -> bool:
    """Whether the kernel compiles and runs on this type of device; if not, the log says why."""

    def trial() -> None:
        origin, direction = torch.tensor([[0.0, -2.0, 0.0], [0.0, 1.0, 0.0]], device=device).split(1)
        fused_samples_along(OccupancyGrid(1.0, 2).to(device), origin, direction, 4, None)

    return kernels.works(trial)


@cache
def _kernel() -> Any:
    """The kernel that counts samples or writes them down."""
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
        place: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        occupied: warp.array3d(dtype=warp.uint8),  # type: ignore[valid-type]
        lowest: warp.array3d(dtype=float),  # type: ignore[valid-type]
        bound: float,
        resolution: int,
        is_writing: int,
        ray_before: int,
        rays: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        distances: warp.array(dtype=float),  # type: ignore[valid-type]
    ) -> None:
        ray = warp.tid()
        cells = float(resolution)
        in_front = warp.float32(0.0)
        now = warp.int32(0)
        if is_writing == 1:
            now = place[ray]
        for interval in range(first[ray], end[ray]):
            distance = near[ray] + step[ray] * float(interval) + step[ray] * offsets[ray, interval]
            point = origins[ray] + distance * directions[ray]
            x = int(warp.floor((point[0] / bound + 1.0) * 0.5 * cells))
            y = int(warp.floor((point[1] / bound + 1.0) * 0.5 * cells))
            z = int(warp.floor((point[2] / bound + 1.0) * 0.5 * cells))
            if warp.min(x, warp.min(y, z)) >= 0 and warp.max(x, warp.max(y, z)) < resolution:
                if in_front < most and occupied[x, y, z] != warp.uint8(0):
                    if is_writing == 1:
                        rays[now] = ray_before + ray
                        distances[now] = distance
                    now += 1
                in_front += lowest[x, y, z] * step[ray]
        if is_writing == 0:
            place[ray] = now

    return march
