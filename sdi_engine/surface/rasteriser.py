"""Which triangles the pixels of cameras see first, on a processor: each triangle is drawn where it covers pixels.

Nothing has to be built for a mesh first, so a mesh that moves in every step is seen in a fraction of the time that the
tree of a ray caster takes (docs/evaluation/speed.md). One Warp kernel; its readable twin is `rays.TorchRayCaster`.

A pixel's ray meets a triangle where its direction has no negative coordinate on the three edges as seen from the
camera, which holds in front of the camera and behind it. Source: Olano & Greer, Triangle Scan Conversion using 2D
Homogeneous Coordinates, 1997.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import kernels
from ..cameras import Cameras
from ..threads import run_each
from .rays import Hits


def can_rasterise(device: torch.device) -> bool:
    """Whether `rasterised` works for meshes on a device: a processor on which Warp works."""
    return device.type == "cpu" and _works()


@torch.no_grad()
def rasterised(corners: Tensor, cameras: Cameras, size: int) -> Hits:
    """What the rays of B cameras (`Cameras.rays`), (B, n, n), hit first.

    Args:
        corners: (F, 3, 3), of triangles, scene units.
        size: n, rays along an edge of the images.
    """
    warp = kernels.warp_module()
    views, device = len(cameras), corners.device
    face = torch.full((views, size, size), -1, dtype=torch.int32)
    barycentric, distance = torch.zeros(views, size, size, 3), torch.zeros(views, size, size)
    depth = torch.full((views, size, size), torch.inf)
    axes = torch.stack([cameras.position, *cameras.axes()], dim=1).float().contiguous()
    half = torch.tan(torch.deg2rad(cameras.fov) / 2.0).float()
    corners = corners.float().contiguous()
    arrays = [
        *(kernels.array(each, warp.vec3) for each in (corners, axes)),
        kernels.array(half),
        *(kernels.array(each) for each in (face, depth, distance)),
        kernels.array(barycentric, warp.vec3),
    ]
    bands = max(1, -(-torch.get_num_threads() // views))
    edges = [size * band // bands for band in range(bands + 1)]
    work = [(view, start, end) for view in range(views) for start, end in itertools.pairwise(edges)]

    def draw(view: int, start: int, end: int) -> None:
        kernels.launch(_kernel(), 1, [*arrays, view, start, end], device)

    run_each(draw, work, max(len(corners), face.numel()), device)
    return Hits(face.long(), barycentric, distance)


@cache
def _works() -> bool:
    """Whether the kernel compiles and runs here; if not, the log says why."""

    def trial() -> None:
        zeros = torch.zeros(1, 3)
        number = torch.ones(1)
        cameras = Cameras(number, number, number, 45.0 * number, zeros, zeros, torch.tensor([[0.0, 0.0, 1.0]]))
        rasterised(torch.zeros(1, 3, 3), cameras, 1)

    return kernels.works(trial)


@cache
def _kernel() -> Any:
    """The kernel that draws all triangles, one after the other, into some rows of one view."""
    warp = kernels.warp_module()
    overlap = warp.constant(1e-4)  # so that rounding leaves no gap between neighbours, as a share of a triangle

    @warp.func
    def seen_from(axes: warp.array2d(dtype=warp.vec3), view: int, point: warp.vec3) -> warp.vec3:  # type: ignore[valid-type]
        """A point in the camera's own coordinates: to the right, up, forward."""
        towards = point - axes[view, 0]
        return warp.vec3(
            warp.dot(towards, axes[view, 1]), warp.dot(towards, axes[view, 2]), warp.dot(towards, axes[view, 3])
        )

    @warp.func
    def pixel_of(along: float, forward: float, half: float, size: float) -> float:
        """Where a point is among the centres of pixels, to the right or down."""
        return (along / (forward * half) + 1.0) * 0.5 * size - 0.5

    @warp.kernel(enable_backward=False, module="sdi_rasteriser")
    def draw(
        corners: warp.array2d(dtype=warp.vec3),  # type: ignore[valid-type]
        axes: warp.array2d(dtype=warp.vec3),  # type: ignore[valid-type]
        halves: warp.array(dtype=float),  # type: ignore[valid-type]
        face: warp.array3d(dtype=warp.int32),  # type: ignore[valid-type]
        depth: warp.array3d(dtype=float),  # type: ignore[valid-type]
        distance: warp.array3d(dtype=float),  # type: ignore[valid-type]
        barycentric: warp.array3d(dtype=warp.vec3),  # type: ignore[valid-type]
        view: int,
        first_row: int,
        end_row: int,
    ) -> None:
        n = face.shape[1]
        size = float(n)
        half = halves[view]
        for triangle in range(corners.shape[0]):
            a = seen_from(axes, view, corners[triangle, 0])
            b = seen_from(axes, view, corners[triangle, 1])
            c = seen_from(axes, view, corners[triangle, 2])
            top, bottom, left, right = first_row, end_row - 1, warp.int32(0), n - 1
            nearest = warp.min(a[2], warp.min(b[2], c[2]))
            if nearest > 0.0:  # else it reaches behind the camera, and may be anywhere
                xs = warp.vec3(
                    pixel_of(a[0], a[2], half, size),
                    pixel_of(b[0], b[2], half, size),
                    pixel_of(c[0], c[2], half, size),
                )
                ys = warp.vec3(
                    pixel_of(-a[1], a[2], half, size),
                    pixel_of(-b[1], b[2], half, size),
                    pixel_of(-c[1], c[2], half, size),
                )
                # within the image first: what is far beside it would be no number of 32 bits
                left = int(warp.ceil(warp.clamp(warp.min(xs) - 0.01, 0.0, size)))
                right = int(warp.floor(warp.clamp(warp.max(xs) + 0.01, -1.0, size - 1.0)))
                top = warp.max(top, int(warp.ceil(warp.clamp(warp.min(ys) - 0.01, 0.0, size))))
                bottom = warp.min(bottom, int(warp.floor(warp.clamp(warp.max(ys) + 0.01, -1.0, size - 1.0))))
            if warp.max(a[2], warp.max(b[2], c[2])) > 0.0 and top <= bottom and left <= right:
                # edges rather than corners, whose products cancel
                of_a, of_b, of_c = warp.cross(b, c - b), warp.cross(c, a - c), warp.cross(a, b - a)
                for row in range(top, bottom + 1):
                    y = -((float(row) + 0.5) / size * 2.0 - 1.0) * half
                    for column in range(left, right + 1):
                        x = ((float(column) + 0.5) / size * 2.0 - 1.0) * half
                        ray = warp.vec3(x, y, 1.0)
                        weights = warp.vec3(warp.dot(ray, of_a), warp.dot(ray, of_b), warp.dot(ray, of_c))
                        whole = weights[0] + weights[1] + weights[2]
                        if whole != 0.0:
                            weights = weights / whole
                            far = weights[0] * a[2] + weights[1] * b[2] + weights[2] * c[2]
                            if warp.min(weights) >= -overlap and far > 0.0 and far < depth[view, row, column]:
                                weights = warp.vec3(
                                    warp.max(weights[0], 0.0), warp.max(weights[1], 0.0), warp.max(weights[2], 0.0)
                                )
                                depth[view, row, column] = far
                                face[view, row, column] = triangle
                                distance[view, row, column] = far * warp.length(ray)
                                barycentric[view, row, column] = weights / (weights[0] + weights[1] + weights[2])

    return draw
