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
        The target as `x0`, ε(x(t), y) as `noise`, and what guidance added to the target as `by_guidance`.
    """
    a, b = prior.scales(t)
    if x is None:
        return prior.predict(a * x0 + b * kappa, t, conditioning, guidance)
    seen = prior.predict(x, t, conditioning, guidance)
    # the same update without subtracting two large numbers at late t: with x = a·x̂0 + b·ε, σ·(ε − κ) is
    return Prediction(seen.x0 - (x - a * x0 - b * kappa) / a, seen.noise, seen.by_guidance)


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
    So that part of the residual x̂0 − x0 is taken off the target.

    Args:
        x0, target: (B, C, h, w).
        transparency: (B, 1, h, w), 1 − opacity, at the resolution of x0.
    """
    return target - _one_colour(target - x0, transparency)


def without_colour_shift(target: Tensor, by_guidance: Tensor, opacity: Tensor) -> Tensor:
    """The target, less what a change of the whole object's colour explains of what guidance added to it.

    Guidance exaggerates: what is grey becomes a little darker in every step, at low noise as well, where an image that
    is sampled passes once but a field stays for hundreds of steps, until a grey sofa is black. Which colour the object
    has the prompt alone tells the model; details, which guidance sharpens, are left to it.

    Not of the paper. On the six prompts whose colours had drifted most, the Fréchet distance (`evaluate`) was 178 with
    it, 320 without, 217 with guidance rescale of 0.7 instead (Lin et al. 2024), and 227 without guidance's part along
    the prompt's own prediction (adaptive projected guidance, Sadat et al. 2024).

    Args:
        target: (B, C, h, w).
        by_guidance: `Prediction.by_guidance`, as target.
        opacity: (B, 1, h, w) in 0…1, at the resolution of the target.
    """
    return target - _one_colour(by_guidance, opacity)


def _one_colour(change: Tensor, where: Tensor) -> Tensor:
    """The part c·where of a change, with one c per image and channel; least squares, in closed form.

    Args:
        change: (B, C, h, w).
        where: (B, 1, h, w).
    """
    colour = (change * where).sum((2, 3), keepdim=True) / where.square().sum((2, 3), keepdim=True).clamp(min=1e-6)
    return colour * where
