"""Whether one way of making objects is better than another, or whether that cannot be told from so few of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

RESAMPLES = 10_000
LEAST_PROMPTS = 5
"""With fewer, resamples are too much alike for their spread to mean anything: nothing is told."""

Verdict = Literal["better", "worse", "cannot be told"]


@dataclass(frozen=True)
class Interval:
    """What is known of a mean difference.

    Attributes:
        mean: of what was measured.
        low, high: the mean lies between them with the given confidence.
        prompts: how many there were.
    """

    mean: float
    low: float
    high: float
    prompts: int

    def verdict(self, *, higher_is_better: bool) -> Verdict:
        """In words, of a difference "one minus other": what the one is."""
        if self.prompts < LEAST_PROMPTS or self.low <= 0.0 <= self.high:
            return "cannot be told"
        return "better" if (self.low > 0.0) == higher_is_better else "worse"


def paired_bootstrap(
    differences: Mapping[Hashable, Sequence[float]],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean of paired differences, and a percentile interval of it (Efron & Tibshirani 1993, ch. 13).

    Objects of one prompt are alike, so a resample draws prompts with replacement, and within each of them seeds
    (Davison & Hinkley 1997, sec. 3.8). Every prompt counts the same, however many seeds it has.

    Args:
        differences: for each prompt those of its seeds, one minus other; at least one prompt, each with at least one.
        confidence: 0…1.
        resamples: how many.
        seed: of the random numbers.
    """
    groups = [np.asarray(group, dtype=float) for group in differences.values()]
    if not groups or not all(len(group) for group in groups):
        raise ValueError("there is nothing to resample")
    lengths = np.array([len(group) for group in groups])
    table = np.zeros((len(groups), lengths.max()))
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = group
    random = np.random.default_rng(seed)
    prompts = random.integers(len(groups), size=(resamples, len(groups), 1))
    drawn = (random.random((resamples, *table.shape)) * lengths[prompts]).astype(int)
    counts = np.arange(lengths.max()) < lengths[prompts]
    means = ((table[prompts, drawn] * counts).sum(axis=2) / lengths[prompts[..., 0]]).mean(axis=1)
    low, high = np.quantile(means, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    mean = float(np.mean([group.mean() for group in groups]))
    return Interval(mean, float(low), float(high), len(groups))
