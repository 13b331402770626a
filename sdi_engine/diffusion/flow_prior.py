"""Models that predict the velocity of a rectified flow as a `Prior`: what all of them have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ..errors import BadInputError
from .diffusers_prior import DiffusersPrior
from .prior import ModelHints, Prediction, Text

LARGEST_SHIFT = 12.0
"""Of μ, which images of 4096² pixels come to. With more of it times could not be told from 1 in 32 bits, and schedulers
that stretch them to a last one would divide by 0."""


class FlowPrior(DiffusersPrior):
    """x(s) = (1 − s)·x0 + s·ε and v = ε − x0 (Esser et al. 2024); the time t is s itself.

    Both halves are found of v without a division, so they are exact up to s = 1, where x holds no signal. A family says
    in `_velocity` how its transformer is asked, and in `_encode` what it is told.
    """

    def __init__(self, pipeline: Any, hints: ModelHints, device: torch.device) -> None:
        """
        Raises:
            BadInputError: the scheduler is not that of a flow, or the transformer takes more than text.
        """
        super().__init__(pipeline, pipeline.transformer, hints, device)
        takes = int(self._denoiser.config.in_channels)
        if takes != self._latents.channels * self._folded**2:
            raise BadInputError(
                f"This model's transformer takes {takes} channels for images of {self._latents.channels}, as those for "
                "inpainting do: choose a plain text-to-image model."
            )
        self._scheduler = self._scheduler_class.from_config(pipeline.scheduler.config)

    _scheduler_class: Any = FlowMatchEulerDiscreteScheduler
    """What says at which times the model is sampled."""

    @abstractmethod
    def _velocity(self, x: Tensor, t: Tensor, text: Text) -> Tensor:
        """v = ε − x0 at x (B, C, h, w) and t (B,), of x's shape, in any precision."""

    _folded: int = 1
    """Latent cells along the edge of a patch that the transformer is given as further channels of one token."""

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        s = t.view(-1, 1, 1, 1).clamp(min=0.0)
        return 1.0 - s, s

    def sampling_times(self, steps: int, resolution: int | None = None) -> Tensor:
        mu = None
        if self._scheduler.config.use_dynamic_shifting:
            mu = min(self._resolution_shift(steps, resolution or self.resolution), LARGEST_SHIFT)
        self._scheduler.set_timesteps(steps, sigmas=self._unshifted_times(steps), mu=mu)
        return self._scheduler.sigmas[:-1].to(self.device, torch.float32)

    def _unshifted_times(self, steps: int) -> list[float] | None:
        """The times that the model's pipeline gives its scheduler to shift; None where it leaves them to it."""
        return None

    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        velocity = self._velocity(x, t, text).float()
        a, b = self.scales(t)
        return Prediction(x - b * velocity, x + a * velocity)

    def _resolution_shift(self, steps: int, resolution: int) -> float:
        """μ of a schedule that depends on the number of tokens: linear in it between two given points."""
        config = self._scheduler.config
        _, height, width = self.latent_shape(resolution)
        tokens = (height // self._patch) * (width // self._patch)
        share = (tokens - config.base_image_seq_len) / (config.max_image_seq_len - config.base_image_seq_len)
        return config.base_shift + share * (config.max_shift - config.base_shift)


def evenly_down(steps: int) -> list[float]:
    """`steps` times from 1 on, all 1/`steps` apart, as most pipelines of flows have them."""
    return [1.0 - step / steps for step in range(steps)]


def tokens_of(x: Tensor, patch: int = 2) -> Tensor:
    """Latents (B, C, h, w) as tokens (B, h/p · w/p, C·p²), row by row; each is a patch of p × p cells."""
    return torch.nn.functional.pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)


def latents_of(tokens: Tensor, shape: torch.Size, patch: int = 2) -> Tensor:
    """The inverse of `tokens_of`, for latents of this shape."""
    rows, columns = shape[-2] // patch, shape[-1] // patch
    return torch.nn.functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), patch)
