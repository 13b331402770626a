"""DDIM (Song et al. 2021) without added noise (η = 0), forwards and backwards; equation numbers are the SDI paper's."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ..diffusion.prior import Conditioning, Prior


def one_step_x0(x: Tensor, noise: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The one-step denoised image, eq. (5): x0 = x̄ − σ·ε = (x − b·ε) / a."""
    return (x - b * noise) / a


def ddim_step(prior: Prior, x: Tensor, t: Tensor, t_next: Tensor, noise: Tensor) -> Tensor:
    """One Euler step of the probability flow from time t to t_next, in either direction, eq. (2).

    x̄(t') = x̄(t) + ε·[σ(t') − σ(t)], written with x = a·x̄ and σ = b/a as x(t') = a'·x0 + b'·ε.
    """
    a, b = prior.scales(t)
    a_next, b_next = prior.scales(t_next)
    return a_next * one_step_x0(x, noise, a, b) + b_next * noise


@torch.no_grad()
def ddim_sample(prior: Prior, x: Tensor, times: Tensor, conditioning: Conditioning, guidance: float) -> Tensor:
    """Denoise x from times[0] down to times[-1], then to the one-step x0 there.

    Args:
        x: (B, C, h, w), the noise at times[0].
        times: (n,) falling, in [0, 1].

    Returns:
        x0, (B, C, h, w).
    """
    for t, t_next in itertools.pairwise(times):
        t, t_next = t.expand(len(x)), t_next.expand(len(x))
        x = ddim_step(prior, x, t, t_next, prior.predict_noise(x, t, conditioning, guidance))
    t = times[-1].expand(len(x))
    return one_step_x0(x, prior.predict_noise(x, t, conditioning, guidance), *prior.scales(t))


@torch.no_grad()
def ddim_invert(
    prior: Prior,
    x: Tensor,
    t_start: Tensor,
    t_end: Tensor,
    steps: int,
    conditioning: Conditioning,
    guidance: float,
) -> Tensor:
    """Run DDIM backwards: from x at t_start up to t_end > t_start in equal steps of t.

    Args:
        x: (B, C, h, w), x(t_start); a clean x0 for t_start = 0.
        t_start, t_end: (B,) in [0, 1].
        steps: evaluations of the model, at least 1.
        guidance: γ_inv; the paper's choice is the negative of the forward guidance.

    Returns:
        x(t_end), (B, C, h, w).
    """
    for step in range(steps):
        t = torch.lerp(t_start, t_end, step / steps)
        t_next = torch.lerp(t_start, t_end, (step + 1) / steps)
        x = ddim_step(prior, x, t, t_next, prior.predict_noise(x, t, conditioning, guidance))
    return x
