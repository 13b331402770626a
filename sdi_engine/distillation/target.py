"""What a render is drawn to, and the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.prior import Conditioning, Prior
from .ddim import one_step_x0


@torch.no_grad()
def distillation_target(
    prior: Prior, x0: Tensor, t: Tensor, kappa: Tensor, conditioning: Conditioning, guidance: float
) -> Tensor:
    """x̂0: the model's one-step estimate from the render x0 with the noise κ at time t, eq. (5) of x(t) = a·x0 + b·κ.

    x0 − x̂0 = σ(t)·[ε(x(t), y) − κ]: the bracket of the update, eq. (10), times σ.
    """
    a, b = prior.scales(t)
    x = a * x0 + b * kappa
    return one_step_x0(x, prior.predict_noise(x, t, conditioning, guidance), a, b)


def distillation_loss(x0: Tensor, target: Tensor) -> Tensor:
    """½·mean‖x0 − sg(x̂0)‖²; its gradient with respect to x0 is σ·(ε − κ), divided by the number of elements."""
    return 0.5 * (x0 - target.detach()).square().mean()


def without_background_shift(x0: Tensor, target: Tensor, transparency: Tensor) -> Tensor:
    """The target, less what a change of each view's plain background would explain.

    Guidance shifts the background that a view happens to have, and the field would fill space with fog to follow it.
    So per image and channel the residual r = x̂0 − x0 is fitted by c·(1 − opacity), in closed form (least squares), and
    the fit is taken off the target.

    Args:
        x0, target: (B, C, h, w).
        transparency: (B, 1, h, w), 1 − opacity, at the resolution of x0.
    """
    residual = target - x0
    shift = (residual * transparency).sum((2, 3), keepdim=True)
    shift = shift / transparency.square().sum((2, 3), keepdim=True).clamp(min=1e-6)
    return target - shift * transparency
