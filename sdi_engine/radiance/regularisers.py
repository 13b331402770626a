"""Penalties that keep the field an object: pure functions of renders, each a scalar, finite where nothing was hit.

The renders are those of `renderer.RayColours`, as images (B, H, W, …) or as rays (N, …). Every penalty is a mean over
pixels, so its weight does not depend on the resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CONVEXITY_RESOLUTION = 8
"""Height and width of the normal map whose neighbours are compared: the shape as a whole, not its details."""


def sparsity(opacity: Tensor) -> Tensor:
    """Little matter is better than much: the mean of √(opacity² + 0.01).

    Args:
        opacity: (…, 1) in 0…1.

    Returns:
        Scalar in 0.1…1.005.

    Source: DreamFusion (Poole et al. 2022), in threestudio's form.
    """
    return (opacity.square() + 0.01).sqrt().mean()


def opaqueness(opacity: Tensor) -> Tensor:
    """A ray hits or misses, it does not pass through fog: the mean binary entropy of the opacity.

    Args:
        opacity: (…, 1) in 0…1; clamped to 0.001…0.999, beyond which no gradient flows.

    Returns:
        Scalar in nats, 0.008…0.693.

    Source: threestudio's loss `opaque`.
    """
    opacity = opacity.clamp(1e-3, 1.0 - 1e-3)
    return -(opacity * opacity.log() + (1.0 - opacity) * torch.log1p(-opacity)).mean()


def z_variance(depth_variance: Tensor, opacity: Tensor) -> Tensor:
    """A surface is thin: the mean spread of matter along the rays that hit something.

    Args:
        depth_variance: (…, 1), at least 0, square scene units.
        opacity: (…, 1) in 0…1; rays above 0.5 count fully, the others not at all, as in threestudio.

    Returns:
        Scalar, square scene units; 0 if no ray counts.

    Source: HiFA (Zhu et al. 2023).
    """
    hit = (opacity > 0.5).to(depth_variance)
    return (depth_variance * hit).sum() / hit.sum().clamp(min=1.0)


def orientation(facing_away: Tensor, opacity: Tensor) -> Tensor:
    """Visible surfaces face the camera, and fog has normals in all directions: the mean share that faces away.

    Args:
        facing_away: (…, 1) in 0…1, `RayColours.facing_away`.
        opacity: (…, 1) in 0…1; rays above 0 count.

    Returns:
        Scalar in 0…1: the mean over the rays that hit something; 0 if none does.

    Source: Ref-NeRF (Verbin et al. 2022), as DreamFusion and threestudio use it.
    """
    return facing_away.sum() / (opacity > 0.0).sum().clamp(min=1)


def view_space(normal: Tensor, axes: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Normal maps from world space to that of their cameras: x right, y up, z towards the viewer.

    Args:
        normal: (B, H, W, 3), of any length.
        axes: (right, up, forward) as from `Cameras.axes()`, each (B, 3), unit length.

    Returns:
        (B, H, W, 3), of the same lengths.
    """
    right, up, forward = axes
    return torch.einsum("bhwi,bji->bhwj", normal, torch.stack([right, up, -forward], dim=1))


def convexity(normal: Tensor) -> Tensor:
    """How far neighbouring normals turn towards each other: negative for a bulge, positive for a hollow.

    The paper's convexity: minus the mean sine between horizontal neighbours and that between vertical ones. A sine is
    signed by the axis of the turn: a bulge's normals turn around the up axis from left to right, and around the right
    axis from top to bottom.

    Args:
        normal: (B, H, W, 3) in view space (`view_space`), length 0…1: multiplied by the visibility.

    Returns:
        Scalar in −2…2.

    Source: Lukoianov et al. 2024, appendix.
    """
    left, right, above, below = _neighbours(normal)
    horizontal = torch.linalg.cross(left, right)[..., 1]
    vertical = torch.linalg.cross(above, below)[..., 0]
    return -(horizontal.mean() + vertical.mean())


def convexity_of_colours(normal: Tensor, opacity: Tensor) -> Tensor:
    """`convexity` as the authors' code has it: of normals remapped as for display, and with the wrong axes.

    It takes the turn around the world's vertical, also for vertical neighbours, and so cannot tell a ball from a
    saddle; the remapping makes it a quarter as large, and adds a term that depends on the side which is seen.

    Args:
        normal: (B, H, W, 3) in world space, length 0…1: multiplied by the visibility.
        opacity: (B, H, W, 1) in 0…1.

    Returns:
        Scalar in −2…2.
    """
    colours = (F.normalize(normal, dim=-1, eps=1e-6) + 1.0) / 2.0 * opacity
    left, right, above, below = _neighbours(colours)
    horizontal = torch.linalg.cross(left, right)[..., 2]
    vertical = torch.linalg.cross(below, above)[..., 2]
    return -(horizontal.mean() + vertical.mean())


def _neighbours(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(left, right, above, below) of all neighbouring pixels of (B, H, W, 3), once made small."""
    small = F.adaptive_avg_pool2d(images.permute(0, 3, 1, 2), CONVEXITY_RESOLUTION).permute(0, 2, 3, 1)
    return small[:, :, :-1], small[:, :, 1:], small[:, :-1], small[:, 1:]
