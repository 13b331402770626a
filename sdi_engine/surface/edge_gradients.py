"""How images change with the borders of surfaces: gradients of a loss with respect to geometry at silhouettes.

What rays see jumps where a surface ends in front of another, and no derivative of the rays' colours says that the jump
moves along with the surface. The image as a whole depends on it: where the nearer surface moves across its border by δ,
as much more of the image shows it, instead of what is behind. That is summed over all pairs of neighbouring rays with a
jump between them, by how far the point that the nearer of both hits moves along the pair. Pairs side by side measure
how a border moves across, pairs one above the other how it moves up and down; there are as many of each as the border's
normal has of each direction, so that both together are the integral along the border, however it lies.

Source: Pidhorskyi et al., Rasterized Edge Gradients, 2024, arXiv 2405.02508. How a jump is told from a slope is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..cameras import Cameras
from .rays import Hits

JUMP = 3.0
"""Two rays hit surfaces one behind the other if the points are so many times as far apart as on one plane."""

STEEPEST = 0.1
"""Least cosine between ray and normal that counts, or a slope seen edge on could be as long as it liked."""


class _Ray(NamedTuple):
    """One ray of each of N pairs: its face (N,), barycentric coordinates (N, 3), distance (N,), direction (N, 3), what
    it sees (N, C), and the gradient of that (N, C)."""

    face: Tensor
    barycentric: Tensor
    distance: Tensor
    direction: Tensor
    seen: Tensor
    gradient: Tensor


def border_term(hits: Hits, corners: Tensor, cameras: Cameras, seen: Tensor, gradient: Tensor) -> Tensor:
    """A number that has the gradient of the loss with respect to where borders are; its value is of no account.

    Args:
        hits: of the rays of B square images, (B, n, n), of `cameras`.
        corners: (F, 3, 3), the triangles' corners, scene units; they take the gradient.
        seen: (B, n, n, C), what the rays see; 0 where they hit nothing.
        gradient: (B, n, n, C), of the loss with respect to that.
    """
    size = hits.face.shape[-1]
    _, directions = cameras.rays(size)
    total = corners.new_zeros(())
    for axis in (2, 1):
        ends = [
            [each.narrow(axis, start, size - 1) for each in (*_of(hits), directions, seen, gradient)]
            for start in (0, 1)
        ]
        where = (ends[0][0] != ends[1][0]).nonzero(as_tuple=True)
        one, other = (_Ray(*(each[where] for each in end)) for end in ends)
        jumps = _is_jump(one, other, corners.detach(), cameras, where[0], size).nonzero().squeeze(dim=1)
        one, other = (_Ray(*(each[jumps] for each in end)) for end in (one, other))
        # the nearer of both hits something, or there would be no jump
        is_first = (other.face < 0) | ((one.face >= 0) & (one.distance <= other.distance))
        face = torch.where(is_first, one.face, other.face)
        barycentric = torch.where(is_first[:, None], one.barycentric, other.barycentric)
        point = (barycentric[..., None] * corners[face]).sum(dim=1)
        place = _place(point, cameras, where[0][jumps], along=2 - axis, size=size)
        # moving on by one ray shows what the first sees to the second; the border is as likely in the one's half
        gain = ((one.gradient + other.gradient) / 2.0 * (one.seen - other.seen)).sum(dim=-1)
        total = total + (gain.detach() * place).sum()
    return total


def _of(hits: Hits) -> tuple[Tensor, Tensor, Tensor]:
    return hits.face, hits.barycentric, hits.distance


def _is_jump(one: _Ray, other: _Ray, corners: Tensor, cameras: Cameras, view: Tensor, size: int) -> Tensor:
    """(N,), between which rays one surface ends in front of another, or of nothing."""
    nothing = (one.face < 0) | (other.face < 0)
    apart = (one.distance[:, None] * one.direction - other.distance[:, None] * other.direction).norm(dim=-1)
    spacing = (
        2.0 * torch.tan(torch.deg2rad(cameras.fov[view]) / 2.0) / size * torch.minimum(one.distance, other.distance)
    )
    facing = torch.maximum(_facing(one, corners), _facing(other, corners)).clamp(min=STEEPEST)
    return nothing | (apart > JUMP * spacing / facing)


def _facing(ray: _Ray, corners: Tensor) -> Tensor:
    """(N,), the cosine between a ray and the normal where it hits, without a sign."""
    triangle = corners[ray.face.clamp(min=0)]
    normal = torch.linalg.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    return torch.nn.functional.cosine_similarity(normal, ray.direction, dim=-1, eps=1e-30).abs()


def _place(points: Tensor, cameras: Cameras, view: Tensor, along: int, size: int) -> Tensor:
    """Where points (N, 3) are in the images of their views, (N,), in rays to the right (along 0) or down (1)."""
    right, up, forward = (axis[view] for axis in cameras.axes())
    towards = points - cameras.position[view]
    depth = (towards * forward).sum(dim=-1)
    sideways = (towards * (-up if along else right)).sum(dim=-1)
    return sideways / depth / torch.tan(torch.deg2rad(cameras.fov[view]) / 2.0) * (size / 2.0)
