"""Statistics: whether one setting is better than another, or whether so few objects cannot tell."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

RESAMPLES = 10_000
LEAST_PROMPTS = 5
"""With fewer, resamples are too similar for their spread to mean anything, and the verdict is "cannot be told"."""

Verdict = Literal["better", "worse", "cannot be told"]


@dataclass(frozen=True)
class Interval:
    """A mean difference and its confidence interval.

    Attributes:
        mean: the measured mean.
        low: lower end of the interval.
        high: upper end of the interval.
        prompts: number of prompts that it was measured on.
    """

    mean: float
    low: float
    high: float
    prompts: int

    def verdict(self, *, higher_is_better: bool) -> Verdict:
        """Whether, by a difference "one minus other", the one is better or worse."""
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

    Objects of one prompt are correlated, so a resample draws prompts with replacement, and within each prompt seeds
    (Davison & Hinkley 1997, sec. 3.8). Every prompt has the same weight, however many seeds it has.

    Args:
        differences: "one minus other" for each seed of each prompt; at least one prompt, each with at least one seed.
        confidence: of the interval, 0…1.
        resamples: number of resamples.
        seed: of the random numbers.

    Raises:
        ValueError: there are no differences.
    """
    groups = [np.asarray(group, dtype=float) for group in differences.values()]
    if not groups or not all(len(group) for group in groups):
        raise ValueError("there is nothing to resample: every prompt needs at least one difference")
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
