"""How fast runs were on this machine, so that a person knows beforehand what another one will take.

The engine writes it down in the person's own folder; Blender reads it. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..config.asked import settings_asked_for
from ..config.evaluations import evaluations_of
from ..config.parameters import Parameters
from ..config.settings import Settings
from ..system.files import read_json_object, write_atomically
from ..system.machine import NoOwnFolderError, own_folder

FILE = "speeds.json"
MOST_KEPT = 200
"""Kinds of runs; those that were not made for the longest time are forgotten."""

SAMPLES = 64
"""Places of the schedule at which a run's evaluations are counted."""

LONGEST = 1e7
"""Seconds; more is no speed."""


@dataclass(frozen=True)
class Speed:
    """What a kind of run took, in seconds.

    Attributes:
        evaluation: of one image that the model was evaluated on.
        step: of a step, besides that.
        around: of all before the first step and after the last one.
        model_resolution: pixels along an edge of the model's images, on which a preset depends.
    """

    evaluation: float
    step: float
    around: float
    model_resolution: float


Speeds = Mapping[str, Speed]
"""By what `kind_of` says of a request."""


def kind_of(asked: Parameters) -> str:
    """What a run's speed depends on, besides how many steps it takes and how often they ask the model."""
    names = ("task", "model", "preset", "device", "resolution", "views_per_step", "texture_size", "overrides")
    packed = [] if asked.precision == "auto" else [asked.precision]  # older runs, which are known still, do not say it
    return json.dumps([getattr(asked, name) for name in names] + packed, sort_keys=True)


def evaluations_in(settings: Settings) -> float:
    """How many images a whole run evaluates the model on."""
    steps = min(SAMPLES, settings.steps)
    return settings.steps * math.fsum(evaluations_of(settings, (n + 0.5) / steps) for n in range(steps)) / max(steps, 1)


def seconds_of(asked: Parameters, speeds: Speeds) -> float | None:
    """What a run would take on this machine; None where none of its kind was made here.

    Raises:
        BadInputError: there can be no such run.
    """
    speed = speeds.get(kind_of(asked))
    if speed is None:
        return None
    settings = settings_asked_for(asked, round(speed.model_resolution))
    return speed.around + settings.steps * speed.step + evaluations_in(settings) * speed.evaluation


def read() -> dict[str, Speed]:
    """The speeds of this machine, the latest last; none where the file is missing or damaged."""
    try:
        content = read_json_object(own_folder() / FILE) or {}
    except NoOwnFolderError:
        return {}
    return {kind: speed for kind, said in content.items() if (speed := _sound(said)) is not None}


def record(asked: Parameters, speed: Speed) -> None:
    """Write down how fast a run was; raises OSError."""
    kept = read()
    kept.pop(kind_of(asked), None)
    kept[kind_of(asked)] = speed
    latest = dict(list(kept.items())[-MOST_KEPT:])
    content = {kind: asdict(each) for kind, each in latest.items()}
    write_atomically(own_folder() / FILE, json.dumps(content, indent=1) + "\n")


def _sound(said: Any) -> Speed | None:
    names = [each.name for each in fields(Speed)]
    numbers = [said.get(name) for name in names] if isinstance(said, Mapping) else []
    sound = [n for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and 0.0 <= n <= LONGEST]
    return Speed(*sound) if len(sound) == len(names) else None
