"""What a person's choices make of a preset, before anything is known of the model. Standard library only."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..errors import BadInputError
from .overrides import override
from .parameters import PARAMETERS, Parameters
from .quality import preset_of_model
from .settings import Settings


def settings_asked_for(asked: Parameters, model_resolution: int | None = None) -> Settings:
    """The preset's settings, changed by what a person asks for, the overrides last; what is left to the model is None.

    Args:
        model_resolution: height and width in pixels of the model's images, where it is known.

    Raises:
        BadInputError: there is no setting that an override names, or it cannot be that, or two settings contradict each
            other.
    """
    preset = preset_of_model(asked, model_resolution)
    settings = override(dataclasses.replace(preset, **named_alike(asked)), asked.overrides)
    if settings.views == "antithetic" and settings.views_per_step % 2:
        raise BadInputError(
            f"Antithetic views come in pairs, but {settings.views_per_step} were asked for in each step: ask for an "
            "even number of views per step, such as 2, or for views that are spread."
        )
    return settings


def named_alike(asked: Parameters) -> dict[str, Any]:
    """What a person asks for of the settings that have the same name in the table."""
    shared = {field.name for field in dataclasses.fields(Settings)} & PARAMETERS.keys()
    chosen = {name: getattr(asked, name) for name in shared}
    return {name: value for name, value in chosen.items() if value is not None}
