"""What a run took is written down, so that a person knows beforehand what another one will take on this machine."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from ..config.asked import settings_asked_for
from ..config.evaluations import evaluations_of
from ..contract import speeds
from ..contract.request import JobRequest

LEAST_STEPS = 10
"""Fewer steps say little: the first ones take longer."""

log = logging.getLogger(__name__)


def remember(request: JobRequest, model_resolution: int, seconds: Mapping[str, float], steps: range) -> None:
    """Write down the speed of a run that is over; does nothing where it was short, or cannot be written.

    Args:
        model_resolution: height and width in pixels of the model's images.
        seconds: of its phases; "optimise" those of the steps, of which "optimise_model" are evaluations. "download" is
            not counted, since there will be none the next time.
        steps: those that were done.
    """
    if len(steps) < LEAST_STEPS:
        return
    asked = settings_asked_for(request, model_resolution)
    evaluations = math.fsum(evaluations_of(asked, step / asked.steps) for step in steps)
    in_steps, in_model = seconds["optimise"], seconds["optimise_model"]
    around = sum(each for name, each in seconds.items() if not name.startswith(("optimise", "download")))
    speed = speeds.Speed(in_model / evaluations, max(0.0, in_steps - in_model) / len(steps), around, model_resolution)
    try:
        speeds.record(request, speed)
    except OSError as error:
        log.debug("The speed of this run is not kept: %s", error)
