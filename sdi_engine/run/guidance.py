"""From a render to the target that it is pulled towards: here a run's settings choose texts, time and noise κ."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ..config.evaluations import TRAINING_TIMESTEPS, guidance_at, whole_timestep
from ..config.settings import Settings
from ..diffusion.perp_neg import condition_views
from ..diffusion.prior import Conditioning, Prediction, Prior
from ..diffusion.views import view_words, with_view
from ..distillation.noise import (
    AFTERWARDS,
    CHOICES,
    CHOICES_2D,
    NEED_CELLS,
    Choice,
    Context,
    Noise,
    is_inverted,
    random_noise,
)
from ..distillation.surface_noise import Footprints, NoiseCells
from ..distillation.target import distillation_target
from ..distillation.threestudio import released_noise
from ..errors import BrokenNumbersError
from ..mesh.eight_bit import is_finite
from ..randomness import generator_of, seed_of
from ..representation import SurfacePoints

PIXELS_PER_SURFACE_POINT = 2
"""Pixels of κ, across and down, for each point of the surface that is looked up; between them it is interpolated."""


class Guidance:
    """A frozen prior, evaluated as a run's settings say.

    Args:
        prior: the model.
        settings: resolved (`run.resolve`).
        seed: of the run; "fixed" noise depends on nothing else.

    Attributes:
        cells: the noise that lives on the object, which a run goes on with; None where the settings want none.
    """

    def __init__(self, prior: Prior, settings: Settings, seed: int) -> None:
        assert settings.inversion_guidance_scale is not None
        assert settings.resolution is not None
        self.prior = prior
        self.settings = settings
        self._inversion_scale: float = settings.inversion_guidance_scale
        self._fixed_seed = seed_of(seed, "fixed noise")
        self.cells: NoiseCells | None = None
        if settings.noise in NEED_CELLS:
            x = prior.unfolded(torch.zeros(1, *prior.latent_shape(settings.resolution)))
            _, channels, self._noise_resolution, _ = x.shape
            self.cells = NoiseCells(channels, generator_of(seed, "noise on the object"), prior.device)

    def read_all(self, prompt: str, negative_prompt: str, told: Callable[[float], None] = lambda share: None) -> None:
        """Have the prior read a prompt from all sides, so that no step needs its text encoders.

        Args:
            told: takes the share of the sides that have been read, 0…1, after each.
        """
        sides = list(itertools.product(range(0, 360, 45), (0.0, 45.0, 90.0)))
        for count, (azimuth, elevation) in enumerate(sides, start=1):
            self.conditioning(prompt, negative_prompt, [float(azimuth)], [elevation])
            told(count / len(sides))

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

    @property
    def surface_resolution(self) -> int | None:
        """In so many pixels κ wants to know which points of the object the renders see; None if not at all."""
        return None if self.cells is None else max(1, self._noise_resolution // PIXELS_PER_SURFACE_POINT)

    def scale(self, t: float) -> float:
        """γ_fwd of eq. (3) at a time."""
        guidance = guidance_at(t, self.settings)
        assert guidance is not None
        return guidance

    def target_steps(self, t: float) -> int:
        """By how many steps of DDIM the target is made at a time; 1 is eq. (10)."""
        return round(self.settings.target_steps(t))

    def noise(
        self, x0: Tensor, t: Tensor, conditioning: Conditioning, random: Generator, previous: Prediction | None = None
    ) -> Noise:
        """κ for images x0 (B, C, h, w) at times t (B,), all the same, as the settings choose it.

        Args:
            previous: what the model predicted in the step before, where all steps are about the same images.
        """
        return self._noise(x0, t, conditioning, self._context(x0, t, random, previous, None))

    def target(
        self,
        x0: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        random: Generator,
        surface: SurfacePoints | None = None,
    ) -> Prediction:
        """The target of the renders (`x0` of the result), by eq. (10) with the κ of the settings; each (B, C, h, w).

        Args:
            surface: which points of the object the renders see, for a κ that wants to know (`surface_resolution`);
                without it the pixels themselves are such points, in all steps the same.

        Raises:
            BrokenNumbersError: the target is NaN or infinite, although the renders are finite.
        """
        context = self._context(x0, t, random, None, surface)
        kappa, image = self._noise(x0, t, conditioning, context)
        steps = self.target_steps(t[0].item())
        target = distillation_target(self.prior, x0, t, kappa, conditioning, context.guidance, image, steps)
        if is_finite(x0) and not is_finite(target.x0):
            raise broken_model(self.prior)
        if self.settings.noise in AFTERWARDS:
            AFTERWARDS[self.settings.noise](self.prior, kappa, target, context)
        return target

    def _noise(self, x0: Tensor, t: Tensor, conditioning: Conditioning, context: Context) -> Noise:
        if self.settings.perp_neg == "prediction":
            conditioning = dataclasses.replace(conditioning, away=())
        choice = self._choice
        if self.settings.noise == "inversion" and not is_inverted(t[0].item(), self.settings, context.random):
            choice = random_noise
        return choice(self.prior, x0, t, conditioning, context)

    def _context(
        self, x0: Tensor, t: Tensor, random: Generator, previous: Prediction | None, surface: SurfacePoints | None
    ) -> Context:
        now = t[0].item()
        return Context(
            self.scale(now),
            self._inversion_scale * self.settings.inversion_guidance(now),
            self.settings,
            random,
            self._fixed_seed,
            previous,
            self.cells,
            None if self.cells is None else self._footprints(x0, surface),
        )

    def _footprints(self, x0: Tensor, surface: SurfacePoints | None) -> Footprints:
        """Which cells of noise the pixels of renders x0 (B, C, h, w) see."""
        resolution = self.prior.unfolded(x0).shape[-1]
        if surface is None:
            return Footprints.of_pixels(len(x0), resolution, x0.device)
        edge = self.settings.noise_cell * self.settings.cameras.frame / resolution
        return Footprints.of_surface(surface.position, surface.opacity, edge, resolution)

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
