"""What a point's features are: grids of several resolutions, dense or hashed, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from ..threads import WORTH_THREADS
from .lookup import HASH_PRIMES, Layout, can_be_fused, fused_features


class FeatureGrids(nn.ParameterList, ABC):
    """Features on the vertices of cubic grids, coarse to fine; each level is one parameter."""

    def __init__(self, levels: list[nn.Parameter], features: int) -> None:
        super().__init__(levels)
        self.features = features

    def features_at(self, points: Tensor, active_levels: int) -> Tensor:
        """Interpolated features of all levels side by side; zeros for those which take no part yet.

        Args:
            points: (N, 3) in −1…1; what lies outside sees the border.

        Returns:
            (N, levels · features).
        """
        if self.are_fused(points):
            layouts = [self._layout(level) for level in range(active_levels)]
            entries = [self._entries(level) for level in range(active_levels)]
            return fused_features(points, entries, layouts, self.features * len(self))
        active = [self._level_at(points, level).t() for level in range(active_levels)]
        inactive = points.new_zeros(self.features * (len(self) - active_levels), len(points))
        return torch.cat([*active, inactive]).t()

    def are_fused(self, points: Tensor) -> bool:
        """Whether kernels read them at these points, rather than plain torch."""
        return can_be_fused(points, self.features)

    @abstractmethod
    def smoothness(self, active_levels: int) -> Tensor:
        """How much the features of neighbouring vertices differ over the active levels, a scalar."""

    @abstractmethod
    def _level_at(self, points: Tensor, level: int) -> Tensor:
        """(N, 3) → (N, features), in plain torch."""

    @abstractmethod
    def _entries(self, level: int) -> Tensor:
        """(entries, features), a view of a level's memory, for the fused kernels."""

    @abstractmethod
    def _layout(self, level: int) -> Layout:
        """Which of these entries are whose."""


class DenseGrids(FeatureGrids):
    """Every vertex has features of its own: (1, features, n, n, n) for each level, in memory side by side.

    Read by `grid_sample`, which runs on CPU, CUDA and MPS without a compiled extension of ours.
    """

    def __init__(self, resolutions: tuple[int, ...], features: int, generator: Generator) -> None:
        drawn = [1e-2 * torch.randn(1, features, n, n, n, generator=generator) for n in resolutions]
        levels = [nn.Parameter(level.contiguous(memory_format=torch.channels_last_3d)) for level in drawn]
        super().__init__(levels, features)

    def smoothness(self, active_levels: int) -> Tensor:
        """Total variation: mean squared difference of neighbouring features."""
        return sum(
            (_Variation.apply(grid) for grid in list(self)[:active_levels]), torch.zeros((), device=self[0].device)
        )

    def _level_at(self, points: Tensor, level: int) -> Tensor:
        # of several points a processor looks up one after the other, but several images at a time
        images = torch.get_num_threads() if points.device.type == "cpu" and len(points) > WORTH_THREADS else 1
        where = F.pad(points, (0, 0, 0, -len(points) % images)).view(images, -1, 1, 1, 3)
        grid = self[level].expand(images, -1, -1, -1, -1)
        sampled = F.grid_sample(grid, where, mode="bilinear", padding_mode="border", align_corners=True)
        return sampled.view(images, self.features, -1).transpose(0, 1).reshape(self.features, -1)[:, : len(points)].t()

    def _layout(self, level: int) -> Layout:
        n = self[level].shape[-1]
        return Layout(vertices=n, axes=(1, n, n * n))

    def _entries(self, level: int) -> Tensor:
        return self[level].permute(0, 2, 3, 4, 1).view(-1, self.features)


class HashGrids(FeatureGrids):
    """Instant-NGP's multi-resolution hash encoding (Müller et al. 2022), in plain torch.

    A level is a table, (entries, features). Where there is room for all vertices each has an entry of its own; on finer
    levels vertices share entries by a spatial hash, and the gradients sort out whose they are.
    """

    def __init__(self, resolutions: tuple[int, ...], features: int, log2_table_size: int, generator: Generator) -> None:
        table_size = 2**log2_table_size
        super().__init__(
            [
                nn.Parameter(2e-4 * torch.rand(min(n**3, table_size), features, generator=generator) - 1e-4)
                for n in resolutions
            ],
            features,
        )
        self.resolutions = resolutions

    def smoothness(self, active_levels: int) -> Tensor:
        """0, without a gradient: entries of a hashed table have no neighbours."""
        return torch.zeros((), device=self[0].device)

    def _level_at(self, points: Tensor, level: int) -> Tensor:
        n, table = self.resolutions[level], self[level]
        position = ((points + 1.0) / 2.0 * (n - 1)).clamp(0.0, n - 1)
        low = position.floor().clamp(max=n - 2)
        fraction = position - low
        # the cell's two ends on each axis, and how near the point is to each; broadcast to the cell's eight corners
        x, y, z = _on_three_axes(torch.stack([low, low + 1.0], dim=-1).long())
        near_x, near_y, near_z = _on_three_axes(torch.stack([1.0 - fraction, fraction], dim=-1))
        if len(table) == n**3:
            entry = (x * n + y) * n + z
        else:
            entry = (x * HASH_PRIMES[0] ^ y * HASH_PRIMES[1] ^ z * HASH_PRIMES[2]) % len(table)
        # index_select: its backward pass is the fastest of its kind (docs/evaluation/speed.md)
        corners = table.index_select(0, entry.flatten()).view(-1, 8, self.features)
        return (corners * (near_x * near_y * near_z).view(-1, 8, 1)).sum(dim=1)

    def _layout(self, level: int) -> Layout:
        n = self.resolutions[level]
        axes = (n * n, n, 1) if len(self[level]) == n**3 else None
        return Layout(vertices=n, axes=axes)

    def _entries(self, level: int) -> Tensor:
        return self[level]


class _Variation(torch.autograd.Function):
    """The mean squared difference of neighbours in a grid (1, C, n, n, n), along each axis, summed.

    Its gradient is found along with it, since it needs the same differences: in about half of the time.
    """

    @staticmethod
    def forward(ctx: Any, grid: Tensor) -> Tensor:
        total, gradient = grid.new_zeros(()), torch.zeros_like(grid)
        for axis in (2, 3, 4):
            difference = grid.diff(dim=axis)
            total += torch.linalg.vector_norm(difference).square() / difference.numel()
            twice = 2.0 / difference.numel()
            gradient.narrow(axis, 1, grid.shape[axis] - 1).add_(difference, alpha=twice)
            gradient.narrow(axis, 0, grid.shape[axis] - 1).sub_(difference, alpha=twice)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (of_grid,) = ctx.saved_tensors
        return gradient * of_grid


def _on_three_axes(ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 3, 2) → (N, 2, 1, 1), (N, 1, 2, 1), (N, 1, 1, 2)."""
    return ends[:, 0, :, None, None], ends[:, 1, None, :, None], ends[:, 2, None, None, :]
