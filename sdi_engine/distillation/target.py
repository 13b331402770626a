"""The target that a render is pulled towards, and the loss; equation numbers are the SDI paper's."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..diffusion.prior import Conditioning, Prediction, Prior
from .ddim import ddim_trajectory


@torch.no_grad()
def distillation_target(
    prior: Prior,
    x0: Tensor,
    t: Tensor,
    kappa: Tensor,
    conditioning: Conditioning,
    guidance: float,
    image: Tensor | None = None,
    steps: int = 1,
) -> Prediction:
    """The update, eq. (10): the next x0 is x0 − σ(t)·[ε(x(t), y) − κ].

    Args:
        x0: (B, C, h, w), the encoded renders.
        t: (B,) in [0, 1].
        kappa: κ, (B, C, h, w).
        conditioning: y and ∅ of the B images.
        guidance: γ of eq. (3).
        image: (B, C, h, w), what κ is added to for the model to see; by default x0 itself, so that the target is the
            model's one-step estimate of x0.
        steps: of DDIM from x(t) down, whose last is the one-step estimate (`denoised`); 1 is eq. (10).

    Returns:
        The target as `x0`, ε(x(t), y) as `noise`, what guidance added to the target as `by_guidance`, and ε without
        guidance as `conditional_noise`, each (B, C, h, w).
    """
    a, b = prior.scales(t)
    seen = denoised(prior, a * (x0 if image is None else image) + b * kappa, t, conditioning, guidance, steps)
    # Of x = a·image + b·κ = a·x̂0 + b·ε follows σ·(ε − κ) = image − x̂0: no division by an a that may be 0.
    return seen if image is None else dataclasses.replace(seen, x0=x0 - (image - seen.x0))


def denoised(prior: Prior, x: Tensor, t: Tensor, conditioning: Conditioning, guidance: float, steps: int) -> Prediction:
    """x0 by DDIM from x(t) down in equal steps of t, of which the last is the one-step estimate, eq. (5).

    The one-step estimate is a mean of all that x(t) may hold, and blurred; steps make it definite, and each costs an
    evaluation. Source: ReconFusion (Wu et al. 2024), whose targets are samples from x(t) on; the SDI paper takes one.

    Args:
        x: x(t), (B, C, h, w).
        t: (B,) in [0, 1], the same for all images.
        conditioning, guidance: as of `distillation_target`.
        steps: at least 1, which is the model's prediction in x(t).

    Returns:
        What it comes to as `x0`, ε(x(t), y) as `noise`, and as `by_guidance` what guidance added in all steps, taking
        the model to keep what the steps before have added to x̄; each (B, C, h, w).
    """
    times = t[0] * (1.0 - torch.arange(steps, device=t.device) / steps)
    predictions = list(ddim_trajectory(prior, x, times, conditioning, guidance))
    last = predictions[-1]
    by_guidance = last.by_guidance
    if by_guidance is not None:
        a, b = prior.scales(times)
        kept = (b[1:] * a[:-1]) / (a[1:] * b[:-1])  # of x̄(t) − x0(t) at the next time: x̄ = x0 + σ·ε
        for share, prediction in zip(1.0 - kept, predictions, strict=False):
            by_guidance = by_guidance + share * prediction.by_guidance
    return dataclasses.replace(predictions[0], x0=last.x0, by_guidance=by_guidance)


def noise_residual(
    prior: Prior, x0: Tensor, t: Tensor, kappa: Tensor, conditioning: Conditioning, guidance: float
) -> Tensor:
    """How far κ is from solving eq. (8), rescaled to x0: the root mean square of σ(t)·[ε(a·x0 + b·κ, y) − κ].

    That is the distance from a render to its target (`distance_to_target`).

    Args:
        x0, t, kappa, conditioning, guidance: as of `distillation_target`.

    Returns:
        (B,), one residual for each image.
    """
    return distance_to_target(x0, distillation_target(prior, x0, t, kappa, conditioning, guidance).x0)


def distance_to_target(x0: Tensor, target: Tensor) -> Tensor:
    """The root mean square of x0 − x̂0 = σ·(ε − κ) in each image, by which `noise_residual` is known for free.

    Args:
        x0, target: (B, C, h, w).

    Returns:
        (B,).
    """
    return (x0 - target).square().mean((1, 2, 3)).sqrt()


def distillation_loss(x0: Tensor, target: Tensor) -> Tensor:
    """½·mean‖x0 − sg(x̂0)‖²; its gradient with respect to x0 is σ·(ε − κ), divided by the number of elements.

    Args:
        x0: (B, C, h, w), the encoded renders, through which gradients flow.
        target: x̂0, (B, C, h, w), through which none do.

    Returns:
        A scalar.
    """
    return 0.5 * (x0 - target.detach()).square().mean()


def without_background_shift(x0: Tensor, target: Tensor, opacity: Tensor) -> Tensor:
    """The target without the part of its residual that a change of each view's plain background would explain.

    Guidance shifts the background that a view happens to have, and the field would fill space with fog to follow it.
    So that part of the residual x̂0 − x0 is subtracted from the target. Not in the paper.

    Args:
        x0, target: (B, C, h, w).
        opacity: (B, 1, h, w) in 0…1, at the resolution of x0.

    Returns:
        The new target, (B, C, h, w).
    """
    return target - colour_shifts(target - x0, opacity)[1]


def without_colour_shift(target: Tensor, by_guidance: Tensor, opacity: Tensor) -> Tensor:
    """The target without the part of what guidance added to it that a change of the whole object's colour explains.

    Guidance exaggerates: grey becomes a little darker in every step, at low noise as well, where a sampled image passes
    once but a field stays for hundreds of steps, until a grey sofa is black. So the prompt alone decides the object's
    colour, and guidance only sharpens details. Not in the paper; compared with guidance rescale and adaptive projected
    guidance in docs/evaluation/choices.md.

    Args:
        target: (B, C, h, w).
        by_guidance: `Prediction.by_guidance`, (B, C, h, w).
        opacity: (B, 1, h, w) in 0…1, at the resolution of the target.

    Returns:
        The new target, (B, C, h, w).
    """
    return target - colour_shifts(by_guidance, opacity)[0]


def colour_shifts(change: Tensor, opacity: Tensor) -> tuple[Tensor, Tensor]:
    """The part of a change that one change of the object's colour explains, and the one that one of the plain
    background's explains, in each view; least squares of both together, in closed form.

    One after the other they would not do: pixels at the object's border show both, so that what becomes of the
    background would be taken for something about the object.

    Args:
        change: (B, C, h, w).
        opacity: (B, 1, h, w) in 0…1.

    Returns:
        c·opacity and d·(1 − opacity) with one c and one d for each image and channel, each (B, C, h, w).
    """
    mean, mean_opacity = (each.mean((2, 3), keepdim=True) for each in (change, opacity))
    centred = opacity - mean_opacity
    # change ≈ mean + slope·centred, whose two terms are independent; no slope where the opacity is the same everywhere
    slope = (change * centred).mean((2, 3), keepdim=True) / (centred.square().mean((2, 3), keepdim=True) + 1e-9)
    of_object = (mean + slope * (1.0 - mean_opacity)) * opacity
    of_background = (mean - slope * mean_opacity) * (1.0 - opacity)
    return of_object, of_background
