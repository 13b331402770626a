"""The choices of κ, the noise that is added to a render before the model is asked. This choice is the whole paper.

The exact κ of a render x0 is the fixed point of eq. (8), κ = ε(a·x0 + b·κ, y): the noise that the model itself sees in
the render to which that noise was added.

A new choice is a function with the signature `Choice`, a line in `CHOICES`, and its name and words in `config/`; one
that learns of the model's answer has a line in `AFTERWARDS`, too.
Everywhere x0 and κ are (B, C, h, w), t is (B,) in [0, 1] and the same for all images, y is what the model is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ..config.evaluations import inversion_steps
from ..config.settings import Settings
from ..diffusion.prior import Conditioning, Prediction, Prior
from .ddim import ddim_invert
from .surface_noise import Footprints, NoiseCells, standardised


@dataclass(frozen=True)
class Context:
    """What κ may depend on besides the renders and what the model is told of them.

    Attributes:
        guidance: γ of eq. (3) for the prediction.
        inversion_guidance: γ_inv, for DDIM inversion.
        settings: of the run.
        random: random numbers of this step.
        seed: the same in every step of a run.
        previous: what the model predicted in the step before; None in 3D, where that was of another view.
        cells: W, the noise that lives on the object, which a run keeps; None where the choice needs none
            (`NEED_CELLS`).
        pixels: which cells each pixel sees, at the grain of `Prior.unfolded`.
    """

    guidance: float
    inversion_guidance: float
    settings: Settings
    random: Generator
    seed: int
    previous: Prediction | None = None
    cells: NoiseCells | None = None
    pixels: Footprints | None = None


class Noise(NamedTuple):
    """κ, and the image that it is added to, where that is another than x0: the model is asked in a·image + b·κ.

    Both (B, C, h, w).
    """

    kappa: Tensor
    image: Tensor | None = None


Choice = Callable[[Prior, Tensor, Tensor, Conditioning, Context], Noise]
"""(prior, x0, t, y, context) → κ."""


def random_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """κ ~ N(0, I), drawn anew in every step: Score Distillation Sampling, eq. (4)."""
    return Noise(standard_normal(x0, context.random))


def fixed_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """κ ~ N(0, I), drawn once: the same in every step of a run, and for every image."""
    return Noise(standard_normal(x0[:1], Generator().manual_seed(context.seed)).expand_as(x0))


@torch.no_grad()
def fixed_point_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """Eq. (8) taken at its word: κ ← ε(a·x0 + b·κ, y), `noise_rounds` times from noise on; 10 times in the paper."""
    a, b = prior.scales(t)
    kappa = standard_normal(x0, context.random)
    for _ in range(context.settings.noise_rounds):
        kappa = prior.predict(a * x0 + b * kappa, t, y, context.guidance).noise
    return Noise(kappa)


def optimised_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """Gradient descent on the residual of eq. (8), ½·‖κ − ε(a·x0 + b·κ, y)‖², from noise on; 10 steps in the paper."""
    a, b = prior.scales(t)
    kappa = standard_normal(x0, context.random)
    for _ in range(context.settings.noise_rounds):
        with torch.enable_grad():
            kappa.requires_grad_()
            residual = kappa - prior.predict(a * x0 + b * kappa, t, y, context.guidance).noise
            (gradient,) = torch.autograd.grad(0.5 * residual.square().sum(), kappa)
        kappa = (kappa - context.settings.noise_learning_rate * gradient).detach()
    return Noise(kappa)


def inverted_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """κ by DDIM inversion, eq. (11): κ = ddim_inversion(x0, t + τ) + H, the noise that x(t + τ) holds beside x0.

    It takes int(`inversion_steps_per_unit` · `inversion_depth`(t) · t) steps, 10 per unit of t in the paper.
    τ ~ U(0, `inversion_overshoot`), 1/30 in the paper; H = `inversion_entropy` · b(t) · N(0, I), 0.3 in the paper.
    Inversion starts at the time `inversion_start`, with fresh noise up to there; the paper's is 0, the clean render.
    (A clean render is not a typical sample of the model, and its inverted noise comes out too small.)
    """
    settings, random = context.settings, context.random
    t_start = torch.full_like(t, settings.inversion_start).minimum(0.5 * t)
    a, b = prior.scales(t_start)
    x = a * x0 + b * standard_normal(x0, random) if settings.inversion_start > 0.0 else x0
    tau = settings.inversion_overshoot * torch.rand(t.shape, generator=random, device=random.device).to(t)
    t_end = (t + tau).clamp(max=1.0)
    steps = inversion_steps(t[0].item(), settings)
    inverted = ddim_invert(prior, x, t_start, t_end, steps, y, context.inversion_guidance)
    kappa = noise_beside(prior, inverted, x0, t_end)
    _, b_t = prior.scales(t)
    return Noise(kappa + settings.inversion_entropy * b_t * standard_normal(x0, random))


@torch.no_grad()
def interval_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """Interval score matching's choice (Liang et al. 2023, LucidDreamer): γ_inv = 0, and κ of an earlier time.

    The render is inverted to s = t − `interval`, and from there to t, without guidance. The model is asked in that x(t)
    = a·x0(s) + b·κ, with κ = ε(x(s), ∅) and the one-step estimate x0(s), and its answer is compared with κ.
    """
    s = (t - context.settings.interval).clamp(min=0.0)
    steps = inversion_steps(t[0].item(), context.settings)
    at_s = ddim_invert(prior, x0, torch.zeros_like(s), s, steps, y, 0.0)
    seen = prior.predict(at_s, s, y, 0.0)
    return Noise(seen.noise, seen.x0)


def cached_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """κ that makes eq. (10) DDIM, eq. (6): the noise that the model saw in the same image in the step before."""
    assert context.previous is not None
    return Noise(context.previous.noise)


def attached_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """κ ~ N(0, I) that is attached to the object: Consistent Flow Distillation (Yan et al., ICLR 2025).

    Two views of one place see the same noise, and so the steps of a run follow few trajectories rather than one each;
    of W a share γ is forgotten before every step (`noise_refresh`). One evaluation of the model, as `random_noise`; by
    eq. (8) no better than that in any one step, since κ knows nothing of the render.
    """
    assert context.cells is not None
    context.cells.refresh(context.settings.noise_refresh(t[0].item()))
    return Noise(_seen(prior, context))


def cached_3d_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """κ cached on the object: what the model predicted there in the steps before, gathered by this view's pixels.

    Eq. (10) is DDIM, eq. (6), where κ is ε(x(t), y) of the step before. In 3D that was of another view, but of places
    that this view sees, too: so each prediction is written to the cells of the noise on the object (`cache_in_cells`),
    and κ is what they hold now; N(0, I) where nobody has looked yet. One evaluation of the model, as `random_noise`.

    What is kept is ε̂(y), without guidance: with guidance, eq. (3), noise would not stay N(0, I) when it goes from step
    to step. In 2D, where the cells are the pixels, this is x(t−τ) = a·x0(t) + b·ε̂(y) with a guided x0(t), and exactly
    DDIM for γ = 1. CFG++ (Chung et al. 2024) does the same with ε̂(∅) instead of ε̂(y).
    """
    assert context.cells is not None
    assert context.pixels is not None
    context.cells.refresh(context.settings.cache_refresh(t[0].item()))
    if context.previous is not None:
        before = prior.unfolded(context.previous.unguided_noise)
        context.cells.add(context.pixels, before - prior.unfolded(_seen(prior, context)))
    return Noise(_seen(prior, context))


def cache_in_cells(prior: Prior, kappa: Tensor, prediction: Prediction, context: Context) -> None:
    """Write ε̂(y) of a view of the object to the cells that it sees; of mean 0 and deviation 1 over the object.

    W changes by as little as makes the view's κ the prediction (`NoiseCells.add`), so a cell that is seen again by the
    same pixels has what the model said of it, and one that many pixels see has the mean of what they want.
    """
    assert context.cells is not None
    assert context.pixels is not None
    noise = standardised(prior.unfolded(prediction.unguided_noise), context.pixels.opacity)
    context.cells.add(context.pixels, noise - prior.unfolded(kappa))


CHOICES: dict[str, Choice] = {
    "inversion": inverted_noise,
    "random": random_noise,
    "fixed": fixed_noise,
    "fixed-point": fixed_point_noise,
    "sgd": optimised_noise,
    "interval": interval_noise,
    "attached": attached_noise,
    "cached-3d": cached_3d_noise,
}
"""By the names that requests have for them (`parameters.NOISES`)."""

CHOICES_2D: dict[str, Choice] = {"cached": cached_noise}
"""Those that are possible only where the same image is asked about in every step."""

NEED_CELLS = ("attached", "cached-3d")
"""Those with a memory on the object (`Context.cells`)."""

AFTERWARDS: dict[str, Callable[[Prior, Tensor, Prediction, Context], None]] = {"cached-3d": cache_in_cells}
"""(prior, κ, prediction, context): what a choice does with the model's answer to a view of the object."""


def standard_normal(like: Tensor, random: Generator) -> Tensor:
    """N(0, I) of a tensor's shape, drawn where the generator is, on the tensor's device."""
    return torch.randn(like.shape, generator=random, device=random.device).to(like)


def _seen(prior: Prior, context: Context) -> Tensor:
    """κ of the noise on the object, as the model has it, (B, C, h, w)."""
    assert context.cells is not None
    assert context.pixels is not None
    return prior.folded(context.cells.seen_by(context.pixels, context.random))


def noise_beside(prior: Prior, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """The noise that x(t) holds beside x0: (x − a·x0) / b, (B, C, h, w)."""
    a, b = prior.scales(t)
    return (x - a * x0) / b


def is_inverted(t: float, settings: Settings, random: Generator) -> bool:
    """Whether κ is found by inversion in this step of a run, at random with the probability `inversion_share`(t).

    A share of 1/k pays for inversion in every k-th step, on average; one that is 0 below or above some t pays at the
    other times only. In the steps between κ is fresh noise, as in SDS: that of the step before belongs to other views.
    Not in the paper, whose share is 1.
    """
    share = settings.inversion_share(t)
    return share >= 1.0 or (share > 0.0 and torch.rand((), generator=random).item() < share)
