"""Reading feature grids with one Warp kernel for each level, forward and backward, on CUDA or a processor.

Its readable twin is the plain torch of `encoding`, of which it gives the same features and gradients within rounding.
It never writes down the indices, corners and weights of the cells, which is what takes the time
(docs/evaluation/speed.md). Kernels are compiled once per machine, and then kept on the disk. On a processor sums are in
the order of the points, so that a run can be repeated bit for bit; on CUDA they are in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import kernels
from ..threads import run_each, run_shares

HASH_PRIMES = (1, 2_654_435_761, 805_459_861)
"""Instant-NGP's spatial hash (Müller et al. 2022, eq. 4)."""


@dataclass(frozen=True)
class Layout:
    """Which of one level's entries the features of its vertices are in.

    Attributes:
        vertices: along an edge.
        axes: from a vertex to the next one along x, y and z, in entries; None where entries are hashed.
    """

    vertices: int
    axes: tuple[int, int, int] | None


def can_be_fused(points: Tensor, features: int) -> bool:
    """Whether `fused_features` may stand in for plain torch: Warp is there and works, the numbers are of single
    precision, and nobody asks for gradients of the places."""
    if points.dtype != torch.float32 or points.requires_grad or points.device.type not in kernels.DEVICES:
        return False
    return _works(points.device.type, features)


def fused_features(points: Tensor, levels: list[Tensor], layouts: list[Layout], width: int) -> Tensor:
    """Interpolated features of all levels side by side, and zeros after them.

    Args:
        points: (N, 3) in −1…1; what lies outside sees the border.
        levels: (entries, features), contiguous; they take gradients.
        layouts: of each level.
        width: how many numbers a point gets in all, a multiple of the features.

    Returns:
        (N, width).
    """
    return _Lookup.apply(points, layouts, width, *levels)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, layouts: list[Layout], width: int, *levels: Tensor) -> Tensor:
        points = points.contiguous()
        ctx.save_for_backward(points)
        ctx.layouts, ctx.shapes = layouts, [level.shape for level in levels]
        features = levels[0].shape[1]
        found = points.new_empty(len(points), width // features, features)
        found[:, len(levels) :] = 0.0
        kernel = _kernels(features)[0]

        def read(start: int, end: int) -> None:
            for number, (level, layout) in enumerate(zip(levels, layouts, strict=True)):
                _launch(kernel, points[start:end], level, layout, found[start:end], number)

        run_shares(read, len(points), len(points), points.device)
        return found.view(len(points), width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (points,) = ctx.saved_tensors
        levels = [points.new_zeros(shape) for shape in ctx.shapes]
        features = ctx.shapes[0][1]
        gradient = gradient.contiguous().view(len(points), gradient.shape[1] // features, features)
        kernel = _kernels(features)[1]
        # a level is one thread's, so that its sums are in the order of the points; the largest ones first
        work = [
            (kernel, points, level, layout, gradient, number)
            for number, (level, layout) in enumerate(zip(levels, ctx.layouts, strict=True))
        ]
        run_each(_launch, reversed(work), len(points), points.device)
        return None, None, None, *levels


def _launch(kernel: Any, points: Tensor, level: Tensor, layout: Layout, rows: Tensor, number: int) -> None:
    """Run a kernel for all points (N, 3), a level (entries, features), and its place in rows (N, levels, features)."""
    warp = kernels.warp_module()

    vector = _vector(level.shape[1])
    arrays = [kernels.array(points, warp.vec3), kernels.array(level, vector), kernels.array(rows, vector)]
    mask = 0 if layout.axes else len(level) - 1
    kernels.launch(
        kernel,
        len(points),
        [*arrays, number, layout.vertices, warp.vec3i(*(layout.axes or (0, 0, 0))), mask],
        points.device,
    )


@cache
def _works(device: str, features: int) -> bool:
    """Whether kernels compile and run on this type of device; if not, the log says why."""

    def trial() -> None:
        point, table = torch.zeros(1, 3, device=device), torch.zeros(8, features, device=device, requires_grad=True)
        fused_features(point, [table], [Layout(2, (4, 2, 1))], features).sum().backward()

    return kernels.works(trial)


@cache
def _vector(features: int) -> Any:
    return kernels.warp_module().types.vector(length=features, dtype=float)


@cache
def _kernels(features: int) -> tuple[Any, Any]:
    """The kernel that reads features, and the one that adds to them: (…) → None as `_launch` says."""
    warp = kernels.warp_module()
    prime_y, prime_z = (warp.constant(warp.uint32(prime)) for prime in HASH_PRIMES[1:])
    module = f"sdi_lookup_{features}"  # both in one: most of the time goes into a module, not into a kernel
    vector = _vector(features)

    @warp.func
    def place(point: warp.vec3, vertices: int) -> tuple[warp.vec3i, warp.vec3]:
        """The lowest vertex of a point's cell, and how far the point is from there to the highest one, 0…1."""
        last = float(vertices - 1)
        low = warp.vec3i()
        beyond = warp.vec3()
        for axis in range(3):
            along = warp.clamp((point[axis] + 1.0) / 2.0 * last, 0.0, last)
            vertex = warp.min(warp.floor(along), last - 1.0)
            low[axis] = int(vertex)
            beyond[axis] = along - vertex
        return low, beyond

    @warp.func
    def entry(low: warp.vec3i, x: int, y: int, z: int, axes: warp.vec3i, mask: int) -> int:
        """Of one of the 8 corners of a cell."""
        if mask == 0:
            return (low[0] + x) * axes[0] + (low[1] + y) * axes[1] + (low[2] + z) * axes[2]
        hashed = warp.uint32(low[0] + x) ^ warp.uint32(low[1] + y) * prime_y ^ warp.uint32(low[2] + z) * prime_z
        return int(hashed & warp.uint32(mask))

    @warp.kernel(enable_backward=False, module=module)
    def read(
        points: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        level: warp.array(dtype=vector),  # type: ignore[valid-type]
        rows: warp.array2d(dtype=vector),  # type: ignore[valid-type]
        number: int,
        vertices: int,
        axes: warp.vec3i,
        mask: int,
    ) -> None:
        i = warp.tid()
        low, far = place(points[i], vertices)
        near = warp.vec3(1.0, 1.0, 1.0) - far
        total = vector()  # named in the body, so that the annotations above are understood
        total += near[0] * near[1] * near[2] * level[entry(low, 0, 0, 0, axes, mask)]
        total += near[0] * near[1] * far[2] * level[entry(low, 0, 0, 1, axes, mask)]
        total += near[0] * far[1] * near[2] * level[entry(low, 0, 1, 0, axes, mask)]
        total += near[0] * far[1] * far[2] * level[entry(low, 0, 1, 1, axes, mask)]
        total += far[0] * near[1] * near[2] * level[entry(low, 1, 0, 0, axes, mask)]
        total += far[0] * near[1] * far[2] * level[entry(low, 1, 0, 1, axes, mask)]
        total += far[0] * far[1] * near[2] * level[entry(low, 1, 1, 0, axes, mask)]
        total += far[0] * far[1] * far[2] * level[entry(low, 1, 1, 1, axes, mask)]
        rows[i, number] = total

    @warp.kernel(enable_backward=False, module=module)
    def add(
        points: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        level: warp.array(dtype=vector),  # type: ignore[valid-type]
        rows: warp.array2d(dtype=vector),  # type: ignore[valid-type]
        number: int,
        vertices: int,
        axes: warp.vec3i,
        mask: int,
    ) -> None:
        i = warp.tid()
        low, far = place(points[i], vertices)
        near = warp.vec3(1.0, 1.0, 1.0) - far
        row = vector()
        row += rows[i, number]
        warp.atomic_add(level, entry(low, 0, 0, 0, axes, mask), near[0] * near[1] * near[2] * row)
        warp.atomic_add(level, entry(low, 0, 0, 1, axes, mask), near[0] * near[1] * far[2] * row)
        warp.atomic_add(level, entry(low, 0, 1, 0, axes, mask), near[0] * far[1] * near[2] * row)
        warp.atomic_add(level, entry(low, 0, 1, 1, axes, mask), near[0] * far[1] * far[2] * row)
        warp.atomic_add(level, entry(low, 1, 0, 0, axes, mask), far[0] * near[1] * near[2] * row)
        warp.atomic_add(level, entry(low, 1, 0, 1, axes, mask), far[0] * near[1] * far[2] * row)
        warp.atomic_add(level, entry(low, 1, 1, 0, axes, mask), far[0] * far[1] * near[2] * row)
        warp.atomic_add(level, entry(low, 1, 1, 1, axes, mask), far[0] * far[1] * far[2] * row)

    return read, add
