"""From a request to the numbers of its run: the preset's, changed by what the model and the person say."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from ..config.asked import named_alike
from ..config.overrides import override
from ..config.quality import preset_of_model
from ..config.settings import Settings, texture_field
from ..contract.request import JobRequest
from ..diffusion.prior import ModelHints

T = TypeVar("T")

DEFAULT_GUIDANCE_SCALE = 7.5
"""γ of the paper (sec. 5) for a model that says nothing else of itself."""

LAST_LEVEL_START = 0.4
"""Progress at which the finest grid of a field of colours takes part; the others follow evenly until then."""


def resolve(request: JobRequest, hints: ModelHints, model_resolution: int, *, by_model: bool = True) -> Settings:
    """The preset's settings, changed by what the model recommends, then by what the request asks for, its overrides
    last.

    In the result `resolution`, `guidance_scale` and `inversion_guidance_scale` are numbers.

    Args:
        request: validated.
        hints: the model's own recommendations.
        model_resolution: height and width in pixels of the model's images.
        by_model: Draft and Standard are those for a model of that size (`config.quality`).

    Raises:
        BadInputError: there is no setting that an override names, or it cannot be that.
    """
    preset = preset_of_model(request, model_resolution if by_model else None)
    guidance = _first(request.guidance_scale, preset.guidance_scale, hints.guidance_scale, DEFAULT_GUIDANCE_SCALE)
    inversion_guidance = _first(
        request.inversion_guidance_scale,
        preset.inversion_guidance_scale,
        hints.inversion_guidance_scale,
        -guidance,
    )
    perp_neg = _first(request.perp_neg, preset.perp_neg)
    if preset.released_code and perp_neg == "off":
        # without Perp-Neg the released code computes text + s·(text − uncond), which is eq. (3) with γ = s + 1
        guidance, inversion_guidance = guidance + 1.0, inversion_guidance + 1.0
    settings = dataclasses.replace(
        preset,
        **named_alike(request)
        | {
            "resolution": _first(request.resolution, min(preset.resolution or model_resolution, model_resolution)),
            "guidance_scale": guidance,
            "inversion_guidance_scale": inversion_guidance,
        },
    )
    if request.is_of_a_mesh:
        settings = _for_texture(settings, request.strength)
    return override(settings, request.overrides)


def _for_texture(settings: Settings, strength: float) -> Settings:
    """The settings for a mesh that is painted: with a strength below 1 only the end of the run is done, which starts
    from a look of before with as much less noise (SDEdit, Meng et al. 2022)."""
    assert settings.resolution is not None
    t = settings.t
    field = texture_field(settings.field, settings.cameras.frame, settings.resolution)
    levels = len(field.grid_resolutions)
    return dataclasses.replace(
        settings,
        field=field,
        level_starts=tuple(LAST_LEVEL_START * level / max(levels - 1, 1) for level in range(levels)),
        steps=round(strength * settings.steps),
        t=dataclasses.replace(t, first=t.last + strength * (t.first - t.last)),
    )


def _first(*values: T | None) -> T:
    """The first value that is not None."""
    return next(value for value in values if value is not None)
