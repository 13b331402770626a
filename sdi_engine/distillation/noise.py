"""The choices of κ, the noise that is added to a render before the model is asked. This choice is the whole paper.

The exact κ of a render x0 is the fixed point of eq. (8), κ = ε(a·x0 + b·κ, y): the noise that the model itself sees in
the render to which that noise was added. Everywhere x0 and κ are (B, C, h, w), t is (B,) in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..diffusion.prior import Conditioning, Prior
from .ddim import ddim_invert, ddim_step


def random_noise(x0: Tensor, generator: Generator) -> Tensor:
    """κ ~ N(0, I), afresh in every step: Score Distillation Sampling, eq. (4)."""
    return torch.randn(x0.shape, generator=generator, device=generator.device).to(x0)


def fixed_noise(x0: Tensor, seed: int) -> Tensor:
    """κ ~ N(0, I), drawn once: the same in every step of a seed, and for every image."""
    return random_noise(x0[:1], Generator().manual_seed(seed)).expand_as(x0)


@torch.no_grad()
def fixed_point_noise(
    prior: Prior,
    x0: Tensor,
    t: Tensor,
    conditioning: Conditioning,
    *,
    guidance: float,
    rounds: int,
    generator: Generator,
) -> Tensor:
    """Eq. (8) taken at its word: κ ← ε(a·x0 + b·κ, y), some rounds from noise on; the paper takes 10."""
    a, b = prior.scales(t)
    kappa = random_noise(x0, generator)
    for _ in range(rounds):
        kappa = prior.predict(a * x0 + b * kappa, t, conditioning, guidance).noise
    return kappa


def optimised_noise(
    prior: Prior,
    x0: Tensor,
    t: Tensor,
    conditioning: Conditioning,
    *,
    guidance: float,
    rounds: int,
    learning_rate: float,
    generator: Generator,
) -> Tensor:
    """Gradient descent on the residual of eq. (8), ½·‖κ − ε(a·x0 + b·κ, y)‖², from noise; the paper takes 10 steps."""
    a, b = prior.scales(t)
    kappa = random_noise(x0, generator)
    for _ in range(rounds):
        with torch.enable_grad():
            kappa.requires_grad_()
            residual = kappa - prior.predict(a * x0 + b * kappa, t, conditioning, guidance).noise
            (gradient,) = torch.autograd.grad(0.5 * residual.square().sum(), kappa)
        kappa = (kappa - learning_rate * gradient).detach()
    return kappa


def inverted_noise(
    prior: Prior,
    x0: Tensor,
    t: Tensor,
    conditioning: Conditioning,
    *,
    guidance: float,
    steps: int,
    start: float,
    overshoot: float,
    entropy: float,
    generator: Generator,
) -> Tensor:
    """κ by DDIM inversion, eq. (11): κ = ddim_inversion(x0, t + τ) + H.

    Args:
        guidance: γ_inv.
        steps: evaluations of the model for the inversion.
        start: inversion starts here, with fresh noise up to this time; 0 starts at the clean render, as in the paper.
            A clean render is no typical sample of the model, and its inverted noise comes out too small (see
            `settings.PRESETS`).
        overshoot: τ ~ U(0, overshoot); the paper's is 1/30.
        entropy: H = entropy · b(t) · N(0, I); the paper's is 0.3.

    Returns:
        κ: the noise which x(t + τ) holds beside x0.
    """
    t_start = torch.full_like(t, start).minimum(0.5 * t)
    a, b = prior.scales(t_start)
    x = a * x0 + b * random_noise(x0, generator) if start > 0.0 else x0
    tau = overshoot * torch.rand(t.shape, generator=generator, device=generator.device).to(t)
    t_end = (t + tau).clamp(max=1.0)
    inverted = ddim_invert(prior, x, t_start, t_end, steps, conditioning, guidance)
    kappa = noise_beside(prior, inverted, x0, t_end)
    _, b_t = prior.scales(t)
    return kappa + entropy * b_t * random_noise(x0, generator)


@torch.no_grad()
def interval_noise(
    prior: Prior, x0: Tensor, t: Tensor, conditioning: Conditioning, *, steps: int, interval: float
) -> tuple[Tensor, Tensor]:
    """Interval score matching's choice (Liang et al. 2023, LucidDreamer): γ_inv = 0, and κ of a time before.

    Args:
        steps: evaluations of the model for the inversion to s = t − interval.
        interval: s is that much earlier than t.

    Returns:
        (x(t), κ): the render inverted to t without guidance, in which the model is asked; and ε(x(s), ∅), with which
        its answer is compared. These are two things here, so x(t) is not a·x0 + b·κ.
    """
    s = (t - interval).clamp(min=0.0)
    at_s = ddim_invert(prior, x0, torch.zeros_like(s), s, steps, conditioning, 0.0)
    seen = prior.predict(at_s, s, conditioning, 0.0)
    return ddim_step(prior, seen, t), seen.noise


def noise_beside(prior: Prior, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """The noise which x(t) holds beside x0: (x − a·x0) / b."""
    a, b = prior.scales(t)
    return (x - a * x0) / b


def inversion_steps(t: float, per_unit: int) -> int:
    """How many steps the inversion to time t takes: int(per_unit · t), at least 1; the paper's per_unit is 10."""
    return max(1, int(per_unit * t))
