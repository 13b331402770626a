"""How often a run asks its model, which follows from its settings alone. Standard library only."""

from __future__ import annotations

import math

from .settings import Settings

TRAINING_TIMESTEPS = 1000
FIRST_TIMESTEP = 1
"""`steps_offset` of Stable Diffusion's scheduler, where the grid of `distillation.threestudio` begins."""

TEXTS_TO_AVOID = 2
"""Of every image with Perp-Neg."""

TIMES_DRAWN = 64
"""Times at which the mean over times that are drawn at random is taken."""


def evaluations_of(settings: Settings, progress: float) -> float:
    """On how many images a step evaluates the model, expected where that is left to chance.

    Args:
        settings: resolved; an inversion guidance of None costs as much as one that is no special number.
        progress: of the run before the step, 0…1.
    """
    schedule = settings.t
    if settings.anneal:
        return settings.views_per_step * _of_a_view(settings, schedule(progress))
    width = (schedule.first - schedule.last) / TIMES_DRAWN
    times = (schedule.last + (number + 0.5) * width for number in range(TIMES_DRAWN))
    return settings.views_per_step * math.fsum(_of_a_view(settings, t) for t in times) / TIMES_DRAWN


def guidance_at(t: float, settings: Settings) -> float | None:
    """γ_fwd of eq. (3) at time t; None where the settings name none yet, and it is not 1 for certain."""
    share = settings.guidance_share(t)
    if share == 0.0:
        return 1.0
    scale = settings.guidance_scale
    return scale if scale is None or share == 1.0 else 1.0 + share * (scale - 1.0)


def inversion_steps(t: float, settings: Settings) -> int:
    """How many steps the inversion to time t takes, at least 1; int(10 t) in the paper."""
    return max(1, int(settings.inversion_steps_per_unit * settings.inversion_depth(t) * t))


def whole_timestep(t: float) -> int:
    """The timestep that the released code takes for a time in [0, 1]: rounded down."""
    return int(t * TRAINING_TIMESTEPS + 1e-6)


def released_grid(timestep: int, steps: int) -> range:
    """The timesteps 1, 101, … below `timestep` at which the released code inverts, of `steps` in all."""
    return range(FIRST_TIMESTEP, timestep, TRAINING_TIMESTEPS // steps)


def _of_a_view(settings: Settings, t: float) -> float:
    if settings.released_code:
        t = whole_timestep(t) / TRAINING_TIMESTEPS if settings.anneal else t
    away = 0 if settings.perp_neg == "off" else TEXTS_TO_AVOID
    away_in_noise = away if settings.perp_neg == "everywhere" else 0
    asked = _texts(guidance_at(t, settings), away)
    return max(1, round(settings.target_steps(t))) * asked + _for_noise(settings, t, away_in_noise)


def _for_noise(settings: Settings, t: float, away: int) -> float:
    """Evaluations of one view for κ."""
    if settings.noise in ("fixed-point", "sgd"):
        return settings.noise_rounds * _texts(guidance_at(t, settings), away)
    if settings.noise == "interval":
        return inversion_steps(t, settings) + 1
    if settings.noise != "inversion":
        return 0.0
    guidance = settings.inversion_guidance_scale
    share = settings.inversion_guidance(t)
    asked = _texts(None if guidance is None and share else (guidance or 0.0) * share, away)
    if settings.released_code:
        steps = len(released_grid(round(t * TRAINING_TIMESTEPS), settings.inversion_steps_per_unit)) + 1
    else:
        steps = inversion_steps(t, settings)
    return min(1.0, max(0.0, settings.inversion_share(t))) * steps * asked


def _texts(guidance: float | None, away: int) -> int:
    """Texts that the model is asked about for one image (`Prior.predict`)."""
    if guidance == 0.0 or (guidance == 1.0 and not away):
        return 1
    return 2 + away
