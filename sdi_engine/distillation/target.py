"""What a render is drawn to, and the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.prior import Conditioning, Prediction, Prior


@torch.no_grad()
def distillation_target(
    prior: Prior,
    x0: Tensor,
    t: Tensor,
    kappa: Tensor,
    conditioning: Conditioning,
    guidance: float,
    x: Tensor | None = None,
) -> Prediction:
    """The update, eq. (10): the next x0 is x0 − σ(t)·[ε(x(t), y) − κ].

    Args:
        x0: (B, C, h, w), the encoded renders.
        t: (B,) in [0, 1].
        kappa: κ, as x0.
        x: x(t), in which the model is asked; None for a·x0 + b·κ, and the target then is the model's one-step estimate.

    Returns:
        The target as `x0`, and ε(x(t), y) as `noise`.
    """
    a, b = prior.scales(t)
    if x is None:
        return prior.predict(a * x0 + b * kappa, t, conditioning, guidance)
    seen = prior.predict(x, t, conditioning, guidance)
    # the same update without subtracting two large numbers at late t: with x = a·x̂0 + b·ε, σ·(ε − κ) is
    return Prediction(seen.x0 - (x - a * x0 - b * kappa) / a, seen.noise)


def noise_residual(
    prior: Prior, x0: Tensor, t: Tensor, kappa: Tensor, conditioning: Conditioning, guidance: float
) -> Tensor:
    """How far κ is from solving eq. (8), rescaled to x0: the root mean square of σ(t)·[ε(a·x0 + b·κ, y) − κ], (B,).

    That is the distance from a render to its target, since x0 − x̂0 = σ·(ε − κ).
    """
    target = distillation_target(prior, x0, t, kappa, conditioning, guidance).x0
    return (x0 - target).square().mean((1, 2, 3)).sqrt()


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
