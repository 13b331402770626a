"""DDIM inversion as the authors' released code does it, which is not as their paper says (preset `threestudio`).

The differences, in the order in which they show: the inversion starts with a call at a timestep before the first; its
grid does not depend on where it ends; it ends up to a tenth of all timesteps too late, and is taken as it is for x(t);
noise is added in every step, on top of a full step. Measured against `noise.inverted_noise`, which follows the paper.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ..config.evaluations import TRAINING_TIMESTEPS, released_grid
from ..diffusion.prior import Conditioning, Prior
from .ddim import ddim_step
from .noise import Context, Noise, noise_beside, standard_normal


def inversion_timesteps(timestep: int, delta: int, steps: int) -> list[int]:
    """The timesteps of an inversion: one before the first, the grid 1, 101, … below `timestep`, then timestep + δ.

    Args:
        timestep: where κ will be used, at least 2.
        delta: δ, how much too far the inversion goes.
        steps: the grid's density: that many grid points in all `TRAINING_TIMESTEPS`.
    """
    grid = released_grid(timestep, steps)
    return [grid.start - grid.step, *grid, min(timestep + delta, TRAINING_TIMESTEPS - 1)]


@torch.no_grad()
def released_noise(prior: Prior, x0: Tensor, t: Tensor, y: Conditioning, context: Context) -> Noise:
    """κ such that a(t)·x0 + b(t)·κ is the latent that the released code denoises: the one at t + δ, taken for x(t).

    Here t is a whole timestep (`whole_timestep`) divided by `TRAINING_TIMESTEPS`; `inversion_steps_per_unit` is the
    grid's density, whose inverse is the largest δ in units of t; `inversion_entropy` is η, how much of DDPM's noise is
    added in each step, 0.3 in the released code.
    """
    steps, eta, random = context.settings.inversion_steps_per_unit, context.settings.inversion_entropy, context.random
    delta = int(torch.rand((), generator=random).item() * TRAINING_TIMESTEPS // steps)
    timesteps = inversion_timesteps(round(t[0].item() * TRAINING_TIMESTEPS), delta, steps)
    x = x0
    for timestep, next_timestep in itertools.pairwise(timesteps):
        now, after = (torch.full_like(t, point / TRAINING_TIMESTEPS) for point in (timestep, next_timestep))
        x = ddim_step(prior, prior.predict(x, now, y, context.inversion_guidance), after)
        x = x + eta * _ddpm_deviation(prior, now, after) * standard_normal(x, random)
    return Noise(noise_beside(prior, x, x0, t))


def _ddpm_deviation(prior: Prior, t: Tensor, t_next: Tensor) -> Tensor:
    """√ of the variance that DDPM adds between two times, (1 − α)/(1 − α')·(1 − α'/α) (Song et al. 2021, eq. 16)."""
    (a, b), (a_next, b_next) = prior.scales(t), prior.scales(t_next)
    return b / b_next * (1.0 - (a_next / a).square()).clamp(min=0.0).sqrt()
