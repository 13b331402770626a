"""R-precision: whether an object belongs to its prompt more than to any other prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import BadInputError
from ..starter.world import Subject
from .judge import LEAST_PROBABILITY, Names

Probabilities = Mapping[str, Sequence[Sequence[float]]]
"""The judge's answers about one object, views x names each, by "thing", "colour", "pattern", "base", "base_colour"."""

RANKINGS = {
    "thing": ("thing",),
    "colour": ("colour",),
    "both": ("thing", "colour"),
    "prompt": ("thing", "colour", "pattern", "base", "base_colour"),
}
"""By what prompts are ranked."""


def r_precision(
    objects: Sequence[Probabilities], subjects: Sequence[Subject], prompts: Sequence[Subject] | None = None
) -> dict[str, float]:
    """The share of objects whose own prompt is ranked first among all prompts.

    As in Dream Fields (Jain et al., 2022) and DreamFusion (Poole et al., 2022, sec. 4), with the judge in CLIP's place:
    a prompt's score is the sum of the log-probabilities of its words over all views.

    Args:
        objects: the judge's answers about each (`Measured.probabilities`).
        subjects: what each should be.
        prompts: all that there are to choose from; those of `subjects` by default. Prompts that say the same by what
            is ranked share their place.

    Returns:
        0...1 for each of `RANKINGS`.

    Raises:
        BadInputError: there are no objects, or not as many as subjects.
    """
    if not objects or len(objects) != len(subjects):
        raise BadInputError("R-precision needs one prompt for each of one or more objects: measure some first.")
    names = Names.of_world()
    choices = [names.right(prompt) for prompt in dict.fromkeys([*subjects, *(prompts or ())])]
    first: dict[str, list[bool]] = {name: [] for name in RANKINGS}
    for probabilities, subject in zip(objects, subjects, strict=True):
        logs = {
            head: np.log(np.maximum(np.asarray(rows, dtype=float), LEAST_PROBABILITY)).sum(axis=0)
            for head, rows in probabilities.items()
        }
        own = names.right(subject)
        for name, heads in RANKINGS.items():
            best = max(sum(logs[head][choice[head]] for head in heads) for choice in choices)
            first[name].append(sum(logs[head][own[head]] for head in heads) >= best - 1e-9)
    return {name: float(np.mean(values)) for name, values in first.items()}
