"""R-precision: whether an object fits its own prompt better than any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import BadInputError
from ..starter.world import Subject
from .judge import LEAST_PROBABILITY, Names

Probabilities = Mapping[str, Sequence[Sequence[float]]]
"""The judge's answers for one object: (views, names) for "thing", "colour", "pattern", "base" and "base_colour"."""

RANKINGS = {
    "thing": ("thing",),
    "colour": ("colour",),
    "both": ("thing", "colour"),
    "prompt": ("thing", "colour", "pattern", "base", "base_colour"),
}
"""The heads by whose answers prompts are ranked, for each variant of R-precision."""


def r_precision(
    objects: Sequence[Probabilities], subjects: Sequence[Subject], prompts: Sequence[Subject] | None = None
) -> dict[str, float]:
    """The share of objects whose own prompt is ranked first among all prompts.

    As in Dream Fields (Jain et al., 2022) and DreamFusion (Poole et al., 2022, sec. 4), with the judge instead of CLIP:
    a prompt's score is the sum of the log-probabilities of its words over all views.

    Args:
        objects: the judge's answers for each object (`Measured.probabilities`).
        subjects: what each object should be.
        prompts: the prompts to rank; those of `subjects` are always among them. Prompts with the same words for the
            ranked heads are ties.

    Returns:
        A share in 0...1 for each of `RANKINGS`.

    Raises:
        BadInputError: there are no objects, or their number differs from that of the subjects.
    """
    if not objects or len(objects) != len(subjects):
        raise BadInputError("R-precision needs at least one object, and one prompt for each: measure some first.")
    names = Names.of_world()
    choices = [names.correct(prompt) for prompt in dict.fromkeys([*subjects, *(prompts or ())])]
    first: dict[str, list[bool]] = {name: [] for name in RANKINGS}
    for probabilities, subject in zip(objects, subjects, strict=True):
        logs = {
            head: np.log(np.maximum(np.asarray(rows, dtype=float), LEAST_PROBABILITY)).sum(axis=0)
            for head, rows in probabilities.items()
        }
        own = names.correct(subject)
        for name, heads in RANKINGS.items():
            best = max(sum(logs[head][choice[head]] for head in heads) for choice in choices)
            first[name].append(sum(logs[head][own[head]] for head in heads) >= best - 1e-9)
    return {name: float(np.mean(values)) for name, values in first.items()}
