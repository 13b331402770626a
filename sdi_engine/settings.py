"""The numbers of a run: what a preset stands for, and what a request and a model change in it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

from .diffusion.prior import ModelHints
from .radiance.cameras import CameraRanges
from .radiance.field import FieldConfig
from .request import JobRequest

T = TypeVar("T")

DEFAULT_GUIDANCE_SCALE = 7.5
"""γ of the paper (sec. 5) for a model that says nothing else of itself."""


@dataclass(frozen=True)
class Settings:
    """Everything that the optimisation and the export need to know. Schedules are in fractions of the run's length.

    Attributes:
        steps: optimisation steps.
        resolution: height and width of the renders in pixels; None takes the model's own.
        views_per_step: renders in each step.
        guidance_scale: γ_fwd of eq. (3); None takes the model's own.
        inversion_guidance_scale: γ_inv; None takes −γ_fwd.
        noise: the choice of κ, one of `request.NOISES`.
        t_start, t_end: the diffusion time falls linearly from the one to the other.
        inversion_steps_per_unit: DDIM inversion to time t takes int(this · t) steps.
        inversion_start: where inversion starts (`noise.inverted_noise`).
        inversion_overshoot: τ ~ U(0, this).
        inversion_entropy: the factor of H in eq. (11).
        learning_rate: of Adam; falls to a fifth over the last 40 % of the run.
        samples_per_ray: intervals along a ray; only those where matter may be are evaluated.
        level_starts: when each grid of the field takes part.
        sparsity, opaqueness, z_variance, smoothness: weights of the regularisers, relative to the distillation loss
            summed over one view.
        sparsity_end: sparsity falls linearly to 0 until here; kept on, it would eat thin parts and whole objects.
        opaqueness_start: when opaqueness and z-variance set in.
        textureless, lit: in which share of the steps, from shading_start on, surfaces are shown white and shaded, or
            coloured and shaded (`radiance.shading`); in the others the bare albedo is.
        fit_background: take what a shift of the background explains off the target.
        mesh_resolution: cells along an edge of the grid that the surface is taken from.
    """

    steps: int
    resolution: int | None
    views_per_step: int
    field: FieldConfig
    cameras: CameraRanges
    guidance_scale: float | None = None
    inversion_guidance_scale: float | None = None
    noise: str = "inversion"
    t_start: float = 0.98
    t_end: float = 0.2
    inversion_steps_per_unit: int = 10
    inversion_start: float = 0.0
    inversion_overshoot: float = 1.0 / 30.0
    inversion_entropy: float = 0.3
    learning_rate: float = 1e-2
    samples_per_ray: int = 64
    level_starts: tuple[float, ...] = (0.0, 0.15, 0.4)
    sparsity: float = 0.0
    sparsity_end: float = 0.3
    opaqueness: float = 0.0
    opaqueness_start: float = 0.3
    z_variance: float = 0.0
    smoothness: float = 0.0
    textureless: float = 0.0
    lit: float = 0.0
    shading_start: float = 0.1
    fit_background: bool = True
    mesh_resolution: int = 128


_DRAFT = Settings(
    steps=120,
    resolution=None,
    views_per_step=2,
    field=FieldConfig(
        bound=0.7, grid_resolutions=(12, 24, 48), features=4, hidden=32, blob_density=5.0, blob_radius=0.6
    ),
    cameras=CameraRanges(elevation=(-10.0, 45.0), fov=(35.0, 50.0), half_frame=(0.7, 0.85), jitter=0.03),
    t_end=0.05,
    inversion_start=0.1,
    learning_rate=2e-2,
    samples_per_ray=48,
    sparsity=0.03,
    sparsity_end=0.6,
    opaqueness=0.01,
    smoothness=0.01,
    mesh_resolution=96,
)

PRESETS: dict[str, Settings] = {
    "draft": _DRAFT,
    "standard": dataclasses.replace(_DRAFT, steps=200, mesh_resolution=128),
    "paper": Settings(
        steps=10_000,
        resolution=512,
        views_per_step=1,
        field=FieldConfig(
            bound=1.0, grid_resolutions=(16, 32, 64, 128), features=4, hidden=64, blob_density=10.0, blob_radius=0.5
        ),
        cameras=CameraRanges(elevation=(-10.0, 45.0), fov=(40.0, 70.0), half_frame=(0.55, 1.4), jitter=0.1),
        samples_per_ray=256,
        level_starts=(0.0, 0.1, 0.2, 0.3),
        sparsity=0.15,
        opaqueness=0.1,
        z_variance=1.0,
        textureless=0.225,
        lit=0.075,
        mesh_resolution=256,
    ),
}


def resolve(request: JobRequest, hints: ModelHints, model_resolution: int) -> Settings:
    """The preset's settings, changed by what the model recommends and then by what the request asks for.

    In the result `resolution`, `guidance_scale` and `inversion_guidance_scale` are numbers.

    Args:
        request: validated.
        hints: the model's own recommendations.
        model_resolution: height and width in pixels of the model's images.
    """
    preset = PRESETS[request.preset]
    guidance = _first(request.guidance_scale, preset.guidance_scale, hints.guidance_scale, DEFAULT_GUIDANCE_SCALE)
    return dataclasses.replace(
        preset,
        steps=_first(request.steps, preset.steps),
        resolution=_first(request.resolution, min(preset.resolution or model_resolution, model_resolution)),
        views_per_step=_first(request.views_per_step, preset.views_per_step),
        guidance_scale=guidance,
        inversion_guidance_scale=_first(request.inversion_guidance_scale, preset.inversion_guidance_scale, -guidance),
        noise=request.noise,
    )


def _first(*values: T | None) -> T:
    """The first value that is not None."""
    return next(value for value in values if value is not None)
