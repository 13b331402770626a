"""Penalties that keep the field an object; each a pure function of rendered images, safe where nothing is rendered."""

from __future__ import annotations

import torch
from torch import Tensor


def sparsity(opacity: Tensor) -> Tensor:
    """Mean of √(opacity² + 0.01): little matter is better than much (DreamFusion; threestudio's form)."""
    return (opacity.square() + 0.01).sqrt().mean()


def opaqueness(opacity: Tensor) -> Tensor:
    """Mean binary entropy of the opacity in nats: a ray hits or misses, it does not pass fog (threestudio's opaque)."""
    opacity = opacity.clamp(1e-3, 1.0 - 1e-3)
    return -(opacity * opacity.log() + (1.0 - opacity) * torch.log1p(-opacity)).mean()


def z_variance(depth_variance: Tensor, opacity: Tensor) -> Tensor:
    """Mean spread of matter along the rays that hit something: a thin surface (HiFA, Zhu et al. 2023).

    Rays count by their opacity; 0 for an empty render.
    """
    weight = opacity.detach()
    return (depth_variance * weight).sum() / weight.sum().clamp(min=1.0)
