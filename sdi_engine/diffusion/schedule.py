"""Noise schedules: how much signal and how much noise x(t) = a(t)·x0 + b(t)·ε holds."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_ALPHA = 1e-12
"""Schedules rescaled to zero terminal signal (Lin et al. 2024) end at α = 0, where σ would be infinite."""


class DiscreteSchedule:
    """A variance-preserving schedule given at N timesteps, made continuous: a = √α(t), b = √(1 − α(t)).

    t in [0, 1] stands for the timestep t·N, as in threestudio (t = 0.98 is timestep 980 of 1000), and at most N − 1.
    A model can be told a time below 0 (`distillation.threestudio` does that), where there is as little noise as at 0.
    Between two timesteps log σ is interpolated linearly, as k-diffusion does (Karras et al. 2022, `external.py`).
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        alphas = alphas_cumprod.detach().to("cpu", torch.float64).clamp(MIN_ALPHA, 1.0 - MIN_ALPHA)
        self.timesteps = alphas.shape[0]
        self._log_sigma = 0.5 * (torch.log1p(-alphas) - torch.log(alphas))

    def timestep(self, t: Tensor) -> Tensor:
        """The (fractional) timestep the model is told; same shape as t, at most N − 1."""
        return (t * self.timesteps).clamp(max=self.timesteps - 1)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) at times t; each has t's shape, device and dtype, and a² + b² = 1."""
        position = self.timestep(t.detach().cpu().double()).clamp(min=0)  # MPS has no float64
        low = position.floor().long()
        high = (low + 1).clamp(max=self.timesteps - 1)
        log_sigma = torch.lerp(self._log_sigma[low], self._log_sigma[high], position - low)
        a = torch.sigmoid(-2.0 * log_sigma).sqrt()
        b = torch.sigmoid(2.0 * log_sigma).sqrt()
        return a.to(t), b.to(t)
