"""What rays see in their samples: matter and colours, weighed by how much light comes through from behind.

In plain torch, and as one Warp kernel for each direction, forward and backward, which go along a ray once or twice and
write down two numbers for each sample; plain torch writes some thirty (docs/evaluation/speed.md).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import nerfacc
import torch
from torch import Tensor

from .. import kernels
from ..threads import run_each, shares
from .samples import Samples

LEAST_OPACITY = 1e-4
"""Depths are divided by the opacity, or by this where a ray sees less."""


class Seen(NamedTuple):
    """What N rays see in their M samples.

    Attributes:
        rgb: (N, 3), colours weighted by visibility.
        opacity: (N, 1) in 0…1.
        depth: (N, 1), mean distance of what is seen, scene units; 0 where nothing is.
        depth_variance: (N, 1), square scene units; 0 where nothing is.
        visibility: (M,) in 0…1, how much of each sample is seen.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    depth_variance: Tensor
    visibility: Tensor


def composed(density: Tensor, colour: Tensor, samples: Samples) -> Seen:
    """In plain torch.

    Args:
        density: (M,), per scene unit.
        colour: (M, 3).
    """
    ray = samples.ray
    seen = visibility(density * samples.step[ray], ray)
    opacity = along_rays(seen[:, None], samples)
    rgb = along_rays(seen[:, None] * colour, samples)
    share = (seen / opacity[ray, 0].clamp(min=LEAST_OPACITY))[:, None]
    distance = samples.distance[:, None]
    depth = along_rays(share * distance, samples)
    variance = along_rays(share * (distance - depth[ray]).square(), samples)
    return Seen(rgb, opacity, depth, variance, seen)


def along_rays(values: Tensor, samples: Samples) -> Tensor:
    """Sums over each ray of what its samples have, (M, C) → (N, C)."""
    sums = torch.zeros(len(samples.directions), values.shape[1], dtype=values.dtype, device=values.device)
    return sums.scatter_add(0, samples.ray[:, None].expand_as(values), values)


def visibility(thickness: Tensor, ray: Tensor) -> Tensor:
    """How much of each of M samples is seen along its ray, (M,) in 0…1.

    Args:
        thickness: (M,), density times length.
        ray: (M,), whose a sample is, ascending.
    """
    _, row, count = torch.unique_consecutive(ray, return_inverse=True, return_counts=True)
    place = torch.arange(len(ray), device=ray.device) - (count.cumsum(0) - count)[row]
    along = thickness.new_zeros(len(count), int(count.amax())).index_put((row, place), thickness)
    return torch.exp(-nerfacc.exclusive_sum(along)[row, place]) * (1.0 - torch.exp(-thickness))


def can_be_fused(density: Tensor) -> bool:
    """Whether `fused_composed` may stand in for `composed`: Warp is there and works, in single precision."""
    device = density.device.type
    return density.dtype == torch.float32 and device in kernels.DEVICES and _works(device)


def fused_composed(density: Tensor, colour: Tensor, samples: Samples) -> Seen:
    """`composed` by kernels."""
    return Seen(*_Composed.apply(density, colour, samples.step, samples.distance, samples.first))


class _Composed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, density: Tensor, colour: Tensor, step: Tensor, distance: Tensor, first: Tensor
    ) -> tuple[Tensor, ...]:
        density, colour = density.contiguous(), colour.contiguous()
        visible, behind = torch.empty_like(density), torch.empty_like(density)
        opacity, depth, variance = (colour.new_empty(len(step), 1) for _ in range(3))
        rgb = colour.new_empty(len(step), 3)
        _launch(0, [step, rgb, opacity, depth, variance], [distance, density, colour, visible, behind], first)
        ctx.save_for_backward(step, opacity, depth, variance, distance, colour, visible, behind, first)
        return rgb, opacity, depth, variance, visible

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        *saved, first = ctx.saved_tensors
        of_rays, of_samples = saved[:4], saved[4:]
        *towards_rays, towards_visible = (gradient.contiguous() for gradient in gradients)
        of_density, of_colour = torch.empty_like(towards_visible), torch.empty_like(of_samples[1])
        _launch(1, [*of_rays, *towards_rays], [*of_samples, towards_visible, of_density, of_colour], first)
        return of_density, of_colour, None, None, None


def _launch(which: int, of_rays: list[Tensor], of_samples: list[Tensor], first: Tensor) -> None:
    """Run a kernel for all rays, given what N rays have and what M samples have.

    On a processor they are shared out among threads.
    """
    device = first.device
    parts = (
        (first[start : end + 1], [each[start:end] for each in of_rays])
        for start, end in shares(len(of_rays[0]), device)
    )
    run_each(lambda *part: _run(_kernels()[which], *part, of_samples), parts, len(of_samples[0]), device)


def _run(kernel: Any, first: Tensor, of_rays: list[Tensor], of_samples: list[Tensor]) -> None:
    warp = kernels.warp_module()

    def array(tensor: Tensor) -> Any:
        return kernels.array(tensor, warp.vec3) if tensor.shape[1:] == (3,) else kernels.array(tensor.view(-1))

    arrays = [array(tensor) for tensor in (first, *of_rays, *of_samples)]
    kernels.launch(kernel, len(of_rays[0]), arrays, first.device)


@cache
def _works(device: str) -> bool:
    """Whether kernels compile and run on this type of device; if not, the log says why."""

    def trial() -> None:
        one, three = torch.ones(1, device=device), torch.ones(1, 3, device=device)
        samples = Samples(three, three, one, 1, torch.zeros(1, dtype=torch.long, device=device), one)
        fused_composed(one.clone().requires_grad_(), three, samples).rgb.sum().backward()

    return kernels.works(trial)


@cache
def _kernels() -> tuple[Any, Any]:
    """The kernel that goes along a ray, and the one that carries gradients back along it."""
    warp = kernels.warp_module()
    least = warp.constant(LEAST_OPACITY)

    @warp.kernel(enable_backward=False, module="sdi_compositing")
    def see(
        first: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        step: warp.array(dtype=float),  # type: ignore[valid-type]
        rgb: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        opacity: warp.array(dtype=float),  # type: ignore[valid-type]
        depth: warp.array(dtype=float),  # type: ignore[valid-type]
        variance: warp.array(dtype=float),  # type: ignore[valid-type]
        distance: warp.array(dtype=float),  # type: ignore[valid-type]
        density: warp.array(dtype=float),  # type: ignore[valid-type]
        colour: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        visible: warp.array(dtype=float),  # type: ignore[valid-type]
        behind: warp.array(dtype=float),  # type: ignore[valid-type]
    ) -> None:
        ray = warp.tid()
        start, end = first[ray], first[ray + 1]
        through = warp.float32(1.0)
        seen, far = warp.float32(0.0), warp.float32(0.0)
        light = warp.vec3()
        for i in range(start, end):
            passes = warp.exp(-density[i] * step[ray])
            now = through * (1.0 - passes)
            through *= passes
            visible[i] = now
            behind[i] = through
            seen += now
            light += now * colour[i]
            far += now * distance[i]
        mean = far / warp.max(seen, least)
        spread = warp.float32(0.0)
        for i in range(start, end):
            beside = distance[i] - mean
            spread += visible[i] * beside * beside
        rgb[ray] = light
        opacity[ray] = seen
        depth[ray] = mean
        variance[ray] = spread / warp.max(seen, least)

    @warp.kernel(enable_backward=False, module="sdi_compositing")
    def see_back(
        first: warp.array(dtype=warp.int32),  # type: ignore[valid-type]
        step: warp.array(dtype=float),  # type: ignore[valid-type]
        opacity: warp.array(dtype=float),  # type: ignore[valid-type]
        depth: warp.array(dtype=float),  # type: ignore[valid-type]
        variance: warp.array(dtype=float),  # type: ignore[valid-type]
        of_rgb: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        of_opacity: warp.array(dtype=float),  # type: ignore[valid-type]
        of_depth: warp.array(dtype=float),  # type: ignore[valid-type]
        of_variance: warp.array(dtype=float),  # type: ignore[valid-type]
        distance: warp.array(dtype=float),  # type: ignore[valid-type]
        colour: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        visible: warp.array(dtype=float),  # type: ignore[valid-type]
        behind: warp.array(dtype=float),  # type: ignore[valid-type]
        of_visible: warp.array(dtype=float),  # type: ignore[valid-type]
        of_density: warp.array(dtype=float),  # type: ignore[valid-type]
        of_colour: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
    ) -> None:
        ray = warp.tid()
        start, end = first[ray], first[ray + 1]
        mean, spread = depth[ray], variance[ray]
        whole = warp.max(opacity[ray], least)
        # where a ray sees less than the least, its depth is not divided by what it sees
        divided = warp.where(opacity[ray] >= least, 1.0, 0.0)
        towards_mean = of_depth[ray] - 2.0 * of_variance[ray] * mean * (1.0 - opacity[ray] / whole)
        after = warp.float32(0.0)
        for back in range(end - start):
            i = end - 1 - back
            beside = distance[i] - mean
            along = towards_mean * (distance[i] - divided * mean)
            along += of_variance[ray] * (beside * beside - divided * spread)
            gradient = warp.dot(of_rgb[ray], colour[i]) + of_opacity[ray] + along / whole + of_visible[i]
            of_colour[i] = visible[i] * of_rgb[ray]
            of_density[i] = (gradient * behind[i] - after) * step[ray]
            after += gradient * visible[i]

    return see, see_back
