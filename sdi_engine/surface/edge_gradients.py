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
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras
from .rays import Hits

JUMP = 3.0
"""Two rays hit surfaces one behind the other if the points are so many times as far apart as on one plane."""

STEEPEST = 0.1
"""Least cosine between ray and normal that counts, or a slope seen edge on could be as long as it liked."""


class _Ray(NamedTuple):
    """One ray of each of N pairs: its face (N,), barycentric coordinates (N, 3), distance (N,), what it sees (N, C),
    and the gradient of that (N, C)."""

    face: Tensor
    barycentric: Tensor
    distance: Tensor
    seen: Tensor
    gradient: Tensor


def border_term(
    hits: Hits,
    positions: Tensor,
    faces: Tensor,
    cameras: Cameras,
    directions: Tensor,
    seen: Tensor,
    gradient: Tensor,
) -> Tensor:
    """A number that has the gradient of the loss with respect to where borders are; its value is of no account.

    Args:
        hits: of the rays of B square images, (B, n, n), of `cameras`.
        positions: (P, 3), scene units; they take the gradient.
        faces: (F, 3), of which of these the triangles are.
        directions: (B, n, n, 3), of the rays.
        seen: (B, n, n, C), what the rays see; 0 where they hit nothing.
        gradient: (B, n, n, C), of the loss with respect to that.
    """
    size = hits.face.shape[-1]
    facing = _facing(hits, positions.detach()[faces], directions)
    of_rays = [each.flatten(0, 2) for each in (*_of(hits), seen, gradient)]
    total = seen.new_zeros(())
    for axis in (2, 1):
        view, row, column = _jumps(hits, facing, directions, cameras, axis).nonzero(as_tuple=True)
        first = (view * size + row) * size + column
        one, other = (
            _Ray(*(each.index_select(0, which) for each in of_rays)) for which in (first, first + (size, 1)[axis - 1])
        )
        # the nearer of both hits something, or there would be no jump
        is_first = (other.face < 0) | ((one.face >= 0) & (one.distance <= other.distance))
        face = torch.where(is_first, one.face, other.face)
        barycentric = torch.where(is_first[:, None], one.barycentric, other.barycentric)
        point = (barycentric[..., None] * positions[faces.index_select(0, face)]).sum(dim=1)
        place = _place(point, cameras, view, along=2 - axis, size=size)
        # moving on by one ray shows what the first sees to the second; the border is as likely in the one's half
        gain = ((one.gradient + other.gradient) / 2.0 * (one.seen - other.seen)).sum(dim=-1)
        total = total + (gain.detach() * place).sum()
    return total


def _of(hits: Hits) -> tuple[Tensor, Tensor, Tensor]:
    return hits.face, hits.barycentric, hits.distance


def _jumps(hits: Hits, facing: Tensor, directions: Tensor, cameras: Cameras, axis: int) -> Tensor:
    """Between which neighbours along an axis of the images one surface ends in front of another, or of nothing.

    Returns:
        (B, n, n), but for one less along the axis; bool.
    """
    size = hits.face.shape[-1]

    def ends(each: Tensor) -> tuple[Tensor, Tensor]:
        return each.narrow(axis, 0, size - 1), each.narrow(axis, 1, size - 1)

    face, other_face = ends(hits.face)
    nothing = (face < 0) | (other_face < 0)
    point, other_point = ends(hits.distance[..., None] * directions)
    spacing = 2.0 * torch.tan(torch.deg2rad(cameras.fov) / 2.0)[:, None, None] / size
    spacing = spacing * torch.minimum(*ends(hits.distance))
    apart = (point - other_point).norm(dim=-1)
    return (face != other_face) & (nothing | (apart > JUMP * spacing / torch.maximum(*ends(facing))))


def _facing(hits: Hits, corners: Tensor, directions: Tensor) -> Tensor:
    """(B, n, n), the cosine between a ray and the normal where it hits, without a sign, at least `STEEPEST`."""
    first, second, third = corners.unbind(dim=1)
    normals = F.normalize(torch.linalg.cross(second - first, third - first), dim=-1, eps=1e-30)
    normals = normals.index_select(0, hits.face.flatten().clamp(min=0)).view_as(directions)
    return (normals * directions).sum(dim=-1).abs().clamp(min=STEEPEST)


def _place(points: Tensor, cameras: Cameras, view: Tensor, along: int, size: int) -> Tensor:
    """Where points (N, 3) are in the images of their views, (N,), in rays to the right (along 0) or down (1)."""
    right, up, forward = (axis[view] for axis in cameras.axes())
    towards = points - cameras.position[view]
    depth = (towards * forward).sum(dim=-1)
    sideways = (towards * (-up if along else right)).sum(dim=-1)
    return sideways / depth / torch.tan(torch.deg2rad(cameras.fov[view]) / 2.0) * (size / 2.0)
