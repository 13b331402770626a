"""The choices of κ, the noise that is added to a render before the model is asked. This choice is the whole paper."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..diffusion.prior import Conditioning, Prior
from .ddim import ddim_invert


def random_noise(x0: Tensor, generator: Generator) -> Tensor:
    """κ ~ N(0, I), afresh in every step: Score Distillation Sampling, eq. (4)."""
    return torch.randn(x0.shape, generator=generator, device=generator.device).to(x0)


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
        x0: (B, C, h, w), the encoded render.
        t: (B,), the time at which κ will be added.
        guidance: γ_inv.
        steps: evaluations of the model for the inversion.
        start: inversion starts here, with fresh noise up to this time; 0 starts at the clean render, as in the paper.
            A clean render is no typical sample of the model, and its inverted noise comes out too small (see
            `settings.PRESETS`).
        overshoot: τ ~ U(0, overshoot); the paper's is 1/30.
        entropy: H = entropy · b(t) · N(0, I); the paper's is 0.3.

    Returns:
        κ, (B, C, h, w): the noise which x(t + τ) holds beside x0.
    """
    t_start = torch.full_like(t, start).minimum(0.5 * t)
    a, b = prior.scales(t_start)
    x = a * x0 + b * random_noise(x0, generator) if start > 0.0 else x0
    tau = overshoot * torch.rand(t.shape, generator=generator, device=generator.device).to(t)
    t_end = (t + tau).clamp(max=1.0)
    inverted = ddim_invert(prior, x, t_start, t_end, steps, conditioning, guidance)
    a_end, b_end = prior.scales(t_end)
    kappa = (inverted - a_end * x0) / b_end
    _, b_t = prior.scales(t)
    return kappa + entropy * b_t * random_noise(x0, generator)


def inversion_steps(t: float, per_unit: int) -> int:
    """How many steps the inversion to time t takes: int(per_unit · t), at least 1; the paper's per_unit is 10."""
    return max(1, int(per_unit * t))
