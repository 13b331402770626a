"""Reading feature grids with one Warp kernel for each level, forward and backward, on CUDA or a processor.

Its readable twin is the plain torch of `encoding`, of which it gives the same features and gradients within rounding.
It never writes down the indices, corners and weights of the cells, which is what takes the time
(docs/evaluation/speed.md). Kernels are compiled once per machine, and then kept on the disk. On a processor sums are in
the order of the points, so that a run can be repeated bit for bit; on CUDA they are in any order.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from . import kernels

HASH_PRIMES = (1, 2_654_435_761, 805_459_861)
"""Instant-NGP's spatial hash (Müller et al. 2022, eq. 4)."""


@dataclass(frozen=True)
class Layout:
    """Where the features of one level's vertices are in the level's memory, in numbers.

    Attributes:
        vertices: along an edge.
        axes: from a vertex to the next one along x, y and z, in entries; None where entries are hashed.
        entry: from an entry to the next.
        feature: from a feature to the next.
    """

    vertices: int
    axes: tuple[int, int, int] | None
    entry: int
    feature: int


def can_be_fused(points: Tensor, features: int) -> bool:
    """Whether `fused_features` may stand in for plain torch: Warp is there and works, the numbers are of single
    precision, and nobody asks for gradients of the places."""
    if points.dtype != torch.float32 or points.requires_grad or points.device.type not in kernels.DEVICES:
        return False
    return _works(points.device.type, features)


def fused_features(points: Tensor, levels: list[Tensor], layouts: list[Layout], features: int, width: int) -> Tensor:
    """Interpolated features of all levels side by side, and zeros after them.

    Args:
        points: (N, 3) in −1…1; what lies outside sees the border.
        levels: of any shape, contiguous; they take gradients.
        layouts: of each level.
        features: of each level.
        width: how many numbers a point gets in all.

    Returns:
        (N, width).
    """
    return _Lookup.apply(points, layouts, features, width, *levels)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, layouts: list[Layout], features: int, width: int, *levels: Tensor) -> Tensor:
        points = points.contiguous()
        ctx.save_for_backward(points)
        ctx.layouts, ctx.features, ctx.shapes = layouts, features, [level.shape for level in levels]
        found = points.new_empty(width, len(points))
        found[len(levels) * features :] = 0.0
        _launch_each(_kernels(features)[0], points, levels, layouts, found.split(features))
        return found.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (points,) = ctx.saved_tensors
        levels = [points.new_zeros(shape) for shape in ctx.shapes]
        _launch_each(_kernels(ctx.features)[1], points, levels, ctx.layouts, gradient.t().split(ctx.features))
        return None, None, None, None, *levels


def _launch_each(
    kernel: Any, points: Tensor, levels: Sequence[Tensor], layouts: list[Layout], rows: Sequence[Tensor]
) -> None:
    """Run a kernel for every level. Levels have nothing in common, so their order makes no difference."""
    work = zip(itertools.repeat(kernel), itertools.repeat(points), levels, layouts, rows, strict=False)
    kernels.run_each(_launch, work, len(points), points.device)


def _launch(kernel: Any, points: Tensor, level: Tensor, layout: Layout, rows: Tensor) -> None:
    """Run a kernel for all points (N, 3), a level's memory, and features (features, N)."""
    warp = kernels.warp_module()

    arrays = [kernels.array(points, warp.vec3), kernels.array(level.view(-1)), kernels.array(rows)]
    mask = 0 if layout.axes else level.numel() // len(rows) - 1
    axes = warp.vec3i(*(layout.axes or (0, 0, 0)))
    numbers = [layout.vertices, axes, mask, layout.entry, layout.feature]
    kernels.launch(kernel, len(points), [*arrays, *numbers], points.device)


@cache
def _works(device: str, features: int) -> bool:
    """Whether kernels compile and run on this type of device; if not, the log says why."""

    def trial() -> None:
        point, table = torch.zeros(1, 3, device=device), torch.zeros(8 * features, device=device, requires_grad=True)
        fused_features(point, [table], [Layout(2, (4, 2, 1), features, 1)], features, features).sum().backward()

    return kernels.works(trial)


@cache
def _kernels(features: int) -> tuple[Any, Any]:
    """The kernel that reads features, and the one that adds to them: (…) → None as `_launch` says."""
    warp = kernels.warp_module()
    prime_y, prime_z = (warp.constant(warp.uint32(prime)) for prime in HASH_PRIMES[1:])
    module = f"sdi_lookup_{features}"  # both in one: most of the time goes into a module, not into a kernel
    vector = warp.types.vector(length=features, dtype=float)

    @warp.func
    def corner_of(
        point: warp.vec3,
        corner: int,
        vertices: int,
        axes: warp.vec3i,
        mask: int,
    ) -> tuple[int, float]:
        """The entry of one of the 8 corners of a point's cell, and how near the point is to it, 0…1."""
        last = float(vertices - 1)
        nearness = 1.0
        vertex = warp.vec3i()
        for axis in range(3):
            place = warp.clamp((point[axis] + 1.0) / 2.0 * last, 0.0, last)
            low = warp.min(warp.floor(place), last - 1.0)
            end = (corner >> (2 - axis)) & 1
            vertex[axis] = int(low) + end
            nearness *= warp.where(end == 1, place - low, 1.0 - (place - low))
        if mask == 0:
            return warp.dot(vertex, axes), nearness
        hashed = warp.uint32(vertex[0]) ^ warp.uint32(vertex[1]) * prime_y ^ warp.uint32(vertex[2]) * prime_z
        return int(hashed & warp.uint32(mask)), nearness

    @warp.kernel(enable_backward=False, module=module)
    def read(
        points: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        level: warp.array(dtype=float),  # type: ignore[valid-type]
        rows: warp.array2d(dtype=float),  # type: ignore[valid-type]
        vertices: int,
        axes: warp.vec3i,
        mask: int,
        entry_step: int,
        feature_step: int,
    ) -> None:
        i = warp.tid()
        point = points[i]
        total = vector()
        for corner in range(8):
            entry, nearness = corner_of(point, corner, vertices, axes, mask)
            for feature in range(features):
                total[feature] += nearness * level[entry * entry_step + feature * feature_step]
        for feature in range(features):
            rows[feature, i] = total[feature]

    @warp.kernel(enable_backward=False, module=module)
    def add(
        points: warp.array(dtype=warp.vec3),  # type: ignore[valid-type]
        level: warp.array(dtype=float),  # type: ignore[valid-type]
        rows: warp.array2d(dtype=float),  # type: ignore[valid-type]
        vertices: int,
        axes: warp.vec3i,
        mask: int,
        entry_step: int,
        feature_step: int,
    ) -> None:
        i = warp.tid()
        point = points[i]
        gradient = vector()
        for feature in range(features):
            gradient[feature] = rows[feature, i]
        for corner in range(8):
            entry, nearness = corner_of(point, corner, vertices, axes, mask)
            for feature in range(features):
                warp.atomic_add(level, entry * entry_step + feature * feature_step, nearness * gradient[feature])

    return read, add
