"""From a render to the target that it is pulled towards: here a run's settings choose texts, time and noise κ."""

from __future__ import annotations

import dataclasses

import torch
from torch import Generator, Tensor

from ..config.settings import Settings
from ..diffusion.perp_neg import condition_views
from ..diffusion.prior import Conditioning, Prediction, Prior
from ..diffusion.views import view_words, with_view
from ..distillation.noise import CHOICES, CHOICES_2D, Choice, Context, Noise
from ..distillation.target import distillation_target
from ..distillation.threestudio import TRAINING_TIMESTEPS, released_noise, whole_timestep
from ..errors import BrokenNumbersError
from ..mesh.eight_bit import is_finite
from ..randomness import seed_of


class Guidance:
    """A frozen prior, evaluated as a run's settings say.

    Args:
        prior: the model.
        settings: resolved (`settings.resolve`).
        seed: of the run; "fixed" noise depends on nothing else.
    """

    def __init__(self, prior: Prior, settings: Settings, seed: int) -> None:
        assert settings.guidance_scale is not None
        assert settings.inversion_guidance_scale is not None
        self.prior = prior
        self.settings = settings
        self.guidance_scale: float = settings.guidance_scale
        self._inversion_scale: float = settings.inversion_guidance_scale
        self._fixed_seed = seed_of(seed, "fixed noise")

    def conditioning(
        self, prompt: str, negative_prompt: str, azimuths_deg: list[float], elevations_deg: list[float]
    ) -> Conditioning:
        """What the model is told of one prompt seen by B cameras: view-dependent prompts, perhaps with Perp-Neg."""
        if self.settings.perp_neg != "off":
            return condition_views(self.prior, prompt, negative_prompt, azimuths_deg, elevations_deg)
        vocabulary = self.prior.hints.view_vocabulary
        prompts = [
            with_view(prompt, view_words(azimuth, elevation, vocabulary))
            for azimuth, elevation in zip(azimuths_deg, elevations_deg, strict=True)
        ]
        return self.prior.condition(prompts, negative_prompt)

    def time(self, progress: float, random: Generator) -> float:
        """The diffusion time of a step: annealed over the run, or drawn anew in every step as in DreamFusion."""
        schedule = self.settings.t
        if not self.settings.anneal:
            return schedule.last + (schedule.first - schedule.last) * torch.rand((), generator=random).item()
        now = schedule(progress)
        return whole_timestep(now) / TRAINING_TIMESTEPS if self.settings.released_code else now

    def noise(
        self, x0: Tensor, t: Tensor, conditioning: Conditioning, random: Generator, previous: Prediction | None = None
    ) -> Noise:
        """κ for renders x0 (B, C, h, w) at times t (B,), all the same, as the settings choose it.

        Args:
            previous: what the model predicted in the step before, where all steps are about the same images.
        """
        if self.settings.perp_neg == "prediction":
            conditioning = dataclasses.replace(conditioning, away=())
        context = Context(self.guidance_scale, self._inversion_scale, self.settings, random, self._fixed_seed, previous)
        return self._choice(self.prior, x0, t, conditioning, context)

    def target(self, x0: Tensor, t: Tensor, conditioning: Conditioning, random: Generator) -> Prediction:
        """The target of the renders (`x0` of the result), by eq. (10) with the κ of the settings; each (B, C, h, w).

        Raises:
            BrokenNumbersError: the target is NaN or infinite, although the renders are finite.
        """
        kappa, x = self.noise(x0, t, conditioning, random)
        target = distillation_target(self.prior, x0, t, kappa, conditioning, self.guidance_scale, x)
        if is_finite(x0) and not is_finite(target.x0):
            raise broken_model(self.prior)
        return target

    @property
    def _choice(self) -> Choice:
        if self.settings.noise == "inversion" and self.settings.released_code:
            return released_noise
        return (CHOICES | CHOICES_2D)[self.settings.noise]


def broken_model(prior: Prior) -> BrokenNumbersError:
    """The error for a model that returned NaN or infinite values for finite ones."""
    cure = (
        "choose the device cpu, which computes in full precision, or"
        if prior.device.type == "cuda"
        else "download its file again, which may be damaged, or"
    )
    return BrokenNumbersError(
        f"The model returned values that are NaN or infinite: {cure} try a lower guidance scale or another model."
    )
