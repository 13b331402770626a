"""From a request to the numbers of its run: the preset's, changed by what the model and the person say."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from ..config.asked import named_alike
from ..config.overrides import override
from ..config.settings import PRESETS, Settings
from ..contract.request import JobRequest
from ..diffusion.prior import ModelHints

T = TypeVar("T")

DEFAULT_GUIDANCE_SCALE = 7.5
"""γ of the paper (sec. 5) for a model that says nothing else of itself."""


def resolve(request: JobRequest, hints: ModelHints, model_resolution: int) -> Settings:
    """The preset's settings, changed by what the model recommends, then by what the request asks for, its overrides
    last.

    In the result `resolution`, `guidance_scale` and `inversion_guidance_scale` are numbers.

    Args:
        request: validated.
        hints: the model's own recommendations.
        model_resolution: height and width in pixels of the model's images.

    Raises:
        BadInputError: there is no setting that an override names, or it cannot be that.
    """
    preset = PRESETS[request.preset]
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
    return override(settings, request.overrides)


def _first(*values: T | None) -> T:
    """The first value that is not None."""
    return next(value for value in values if value is not None)
