"""The noise on the object by Warp kernels: their readable twin is the plain torch of `surface_noise`.

Plain torch makes some two hundred tensors of all samples for what these three do in a pass over the pixels
(docs/evaluation/speed.md). Where a sample lies on the border of two cells, rounding may decide otherwise than there. On
a processor sums are in the order of the pixels, so that a run can be repeated bit for bit; on CUDA they are in any
order.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import kernels
from ..threads import run_shares

SAMPLES = 4
"""Points per pixel, across and down, at which it sees the surface."""


def can_be_fused(device: torch.device) -> bool:
    """Whether the kernels may stand in for plain torch on a device: Warp is there and works."""
    return device.type in kernels.DEVICES and _works(device.type)


def cells_seen(
    weighted: Tensor,
    edge: float,
    resolution: int,
    half_opaque: float,
    primes: tuple[int, int, int],
    size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Which cells the samples of each pixel see.

    Args:
        weighted: (B, H, W, 4), positions in scene units times the opacity, and the opacity.
        edge: of a cell, scene units.
        resolution: n.
        half_opaque: samples with less opacity see the background.
        primes: of the hash.
        size: of its table, a power of two.

    Returns:
        entries, times_seen, beside, length and cells, as of `Footprints`.
    """
    batch, height, width, _ = weighted.shape
    weighted = weighted.contiguous()
    device = weighted.device
    entries = torch.empty(batch, resolution, resolution, SAMPLES**2, dtype=torch.int32, device=device)
    times = torch.empty(entries.shape, device=device)
    beside, length = (torch.empty(entries.shape[:3], device=device) for _ in range(2))
    seen = torch.zeros(size, dtype=torch.bool, device=device)
    pixels = batch * resolution**2
    warp = kernels.warp_module()
    image = kernels.array(weighted, warp.vec4)
    flat = entries.view(pixels, -1), times.view(pixels, -1), beside.view(pixels), length.view(pixels)
    numbers = [height, width, resolution, edge, half_opaque, warp.vec3i(*primes), size - 1]
    everybody = kernels.array(seen.view(torch.uint8))

    def see(start: int, end: int) -> None:
        found = [kernels.array(each[start:end]) for each in flat]
        kernels.launch(_kernels()[0], end - start, [image, *numbers, start, *found, everybody], device)

    run_shares(see, pixels, entries.numel(), device)
    return entries, times, beside, length, seen.nonzero()[:, 0]


def sums_of_cells(values: Tensor, entries: Tensor) -> Tensor:
    """What the cells that each pixel sees hold, summed over its samples: (entries, C), (P, S) int32 → (P, C)."""
    device = values.device
    total = torch.empty(len(entries), values.shape[1], device=device)
    table = kernels.array(values)

    def add_up(start: int, end: int) -> None:
        kernels.launch(
            _kernels()[1], end - start, [table, *(kernels.array(each[start:end]) for each in (entries, total))], device
        )

    run_shares(add_up, len(entries), entries.numel(), device)
    return total


def wishes_of_pixels(entries: Tensor, times: Tensor, wanted: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What all pixels want of each cell, summed over their samples, and how many pixels see it.

    Args:
        entries, times: (P, S), as of `cells_seen`.
        wanted: (P, C).
        size: of the table.

    Returns:
        (size, C), (size,).
    """
    device = wanted.device
    total, looking = wanted.new_zeros(size, wanted.shape[1]), wanted.new_zeros(size)
    wanted = wanted.contiguous()
    arrays = [kernels.array(each) for each in (entries, times, wanted, total, looking)]
    kernels.launch(_kernels()[2], len(entries), arrays, device)
    return total, looking


@cache
def _works(device: str) -> bool:
    """Whether kernels compile and run on this type of device; if not, the log says why."""

    def trial() -> None:
        entries, times, *_ = cells_seen(torch.ones(1, 1, 1, 4, device=device), 1.0, 1, 0.5, (1, 1, 1), 4)
        entries, times = entries.view(1, -1), times.view(1, -1)
        sums_of_cells(wishes_of_pixels(entries, times, torch.ones(1, 1, device=device), 4)[0], entries)

    return kernels.works(trial)


@cache
def _kernels() -> tuple[Any, Any, Any]:
    """The kernels of `cells_seen`, `sums_of_cells` and `wishes_of_pixels`.

    All in one: to compile a module takes most of the time, and one that grows is compiled again.
    """
    warp = kernels.warp_module()
    side, per_pixel = warp.constant(SAMPLES), warp.constant(SAMPLES**2)
    indices = warp.types.vector(length=SAMPLES**2, dtype=warp.int32)

    @warp.kernel(enable_backward=False, module="sdi_noise")
    def see(
        weighted: warp.array3d(dtype=warp.vec4),  # type: ignore[valid-type]
        height: int,
        width: int,
        resolution: int,
        edge: float,
        half_opaque: float,
        primes: warp.vec3i,
        mask: int,
        pixels_before: int,
        entries: warp.array2d(dtype=warp.int32),  # type: ignore[valid-type]
        times: warp.array2d(dtype=float),  # type: ignore[valid-type]
        beside: warp.array(dtype=float),  # type: ignore[valid-type]
        length: warp.array(dtype=float),  # type: ignore[valid-type]
        seen: warp.array(dtype=warp.uint8),  # type: ignore[valid-type]
    ) -> None:
        here = warp.tid()
        pixel = pixels_before + here
        column = pixel % resolution
        row = (pixel // resolution) % resolution
        view = pixel // (resolution * resolution)
        finer = resolution * side
        found = indices()
        for sample in range(per_pixel):
            down, across = row * side + sample // side, column * side + sample % side
            y = warp.max((float(down) + 0.5) * (float(height) / float(finer)) - 0.5, 0.0)
            x = warp.max((float(across) + 0.5) * (float(width) / float(finer)) - 0.5, 0.0)
            top, left = int(y), int(x)
            below, right = warp.min(top + 1, height - 1), warp.min(left + 1, width - 1)
            v, u = y - float(top), x - float(left)
            above = (1.0 - u) * weighted[view, top, left] + u * weighted[view, top, right]
            under = (1.0 - u) * weighted[view, below, left] + u * weighted[view, below, right]
            mean = (1.0 - v) * above + v * under
            entry = -1 - (view * finer + down) * finer - across
            if mean[3] > half_opaque:
                hashed = warp.uint32(0)
                for axis in range(3):
                    cell = int(warp.floor(mean[axis] / mean[3] / edge))
                    hashed = hashed ^ (warp.uint32(cell) * warp.uint32(primes[axis]))
                entry = int(hashed & warp.uint32(mask))
                seen[entry] = warp.uint8(1)
            found[sample] = entry
        squares = warp.int32(0)
        missing = warp.int32(0)
        for sample in range(per_pixel):
            missing += warp.where(found[sample] < 0, 1, 0)
        for sample in range(per_pixel):
            count = warp.int32(1)
            if missing < per_pixel:  # beside the object nothing is seen twice
                count = warp.int32(0)
                for other in range(per_pixel):
                    count += warp.where(found[other] == found[sample], 1, 0)
            entries[here, sample] = found[sample]
            times[here, sample] = float(count)
            squares += count  # each cell n_c times
        beside[here] = float(missing)
        length[here] = warp.sqrt(float(squares))

    @warp.kernel(enable_backward=False, module="sdi_noise")
    def add_up(
        values: warp.array2d(dtype=float),  # type: ignore[valid-type]
        entries: warp.array2d(dtype=warp.int32),  # type: ignore[valid-type]
        total: warp.array2d(dtype=float),  # type: ignore[valid-type]
    ) -> None:
        pixel = warp.tid()
        for channel in range(values.shape[1]):
            held = warp.float32(0.0)
            for sample in range(entries.shape[1]):
                entry = entries[pixel, sample]
                if entry >= 0:
                    held += values[entry, channel]
            total[pixel, channel] = held

    @warp.kernel(enable_backward=False, module="sdi_noise")
    def wish(
        entries: warp.array2d(dtype=warp.int32),  # type: ignore[valid-type]
        times: warp.array2d(dtype=float),  # type: ignore[valid-type]
        wanted: warp.array2d(dtype=float),  # type: ignore[valid-type]
        total: warp.array2d(dtype=float),  # type: ignore[valid-type]
        looking: warp.array(dtype=float),  # type: ignore[valid-type]
    ) -> None:
        pixel = warp.tid()
        for sample in range(entries.shape[1]):
            entry = entries[pixel, sample]
            if entry >= 0:
                warp.atomic_add(looking, entry, 1.0 / times[pixel, sample])
                for channel in range(wanted.shape[1]):
                    warp.atomic_add(total, entry, channel, wanted[pixel, channel])

    return see, add_up, wish
