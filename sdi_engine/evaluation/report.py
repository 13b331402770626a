"""The report of an evaluation: a table of all settings, and the metrics in which one is better than another."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..studies.statistics import Interval, Verdict, paired_bootstrap
from .commitment import Commitment
from .examiner import Truth
from .frechet import frechet
from .measure import TRUTHS
from .plan import Job
from .runs import Record

Kind = Literal["share", "ratio", "number", "seconds", "count"]


@dataclass(frozen=True)
class Metric:
    """A number that is measured on every object.

    Attributes:
        name: its key in `Object.values`.
        label: its name for readers.
        kind: a "share" is in 0...1 for each object, mostly one of them, and shown in %; a "ratio" to the truth is best
            at 1.
        higher_is_better: False for ratios, which are compared by their distance from 1.
        of_failures: the value of a failed object; None leaves failed objects out.
    """

    name: str
    label: str
    kind: Kind
    higher_is_better: bool = True
    of_failures: float | None = None


METRICS = (
    Metric("thing", "thing recognised", "share", of_failures=0.0),
    Metric("colour", "colour recognised", "share", of_failures=0.0),
    Metric("pattern", "pattern recognised", "share", of_failures=0.0),
    Metric("both", "thing and colour recognised", "share", of_failures=0.0),
    Metric("view", "view as asked for", "share"),
    Metric("base", "what it stands on recognised", "share", of_failures=0.0),
    Metric("r_thing", "R-precision, thing", "share", of_failures=0.0),
    Metric("r_colour", "R-precision, colour", "share", of_failures=0.0),
    Metric("r_both", "R-precision, thing and colour", "share", of_failures=0.0),
    Metric("janus", "Janus", "share", higher_is_better=False),
    Metric("iou", "silhouette IoU", "number"),
    Metric("chamfer", "Chamfer distance", "number", higher_is_better=False),
    Metric("normals", "normal consistency", "number"),
    Metric("shape_commitment", "mode commitment, shape", "number"),
    Metric("texture_commitment", "mode commitment, texture", "number"),
    Metric("sharpness", "sharpness (truth 1)", "ratio", higher_is_better=False),
    Metric("saturation", "saturation (truth 1)", "ratio", higher_is_better=False),
    Metric("contrast", "contrast (truth 1)", "ratio", higher_is_better=False),
    Metric("non_manifold", "non-manifold edges", "count", higher_is_better=False),
    Metric("charts", "UV charts", "count", higher_is_better=False),
    Metric("stretch", "stretch of the UV map (least 1)", "number", higher_is_better=False),
    Metric("texture_fill", "texture that is used", "share"),
    Metric("seam", "largest difference at a seam (of 255)", "number", higher_is_better=False),
    Metric("unpainted", "texels left unpainted", "count", higher_is_better=False),
    Metric("seconds_2d", "seconds in the 2D model", "seconds", higher_is_better=False),
    Metric("seconds_3d", "seconds in the 3D", "seconds", higher_is_better=False),
    Metric("clip", "CLIP score", "number"),
    Metric("clip_r", "CLIP R-precision", "share", of_failures=0.0),
    Metric("failed", "failed", "share", higher_is_better=False),
    Metric("residual", "residual of eq. (8)", "number", higher_is_better=False),
    Metric("seconds", "seconds per object", "seconds", higher_is_better=False),
    Metric("evaluations", "evaluations of the 2D model", "count", higher_is_better=False),
)

NOTE = (
    "Failed objects count as not recognised, and are left out of geometry and appearance. Seconds include all work on "
    "an object except loading the model, which stays loaded. A difference is the mean over the prompts and seeds that "
    "both settings have; its 95 % interval comes from a bootstrap over prompts and, within them, seeds. Where neither "
    "better nor worse is said, it cannot be told, as always with fewer than five prompts. Of so many comparisons, one "
    "in twenty seems to differ by chance alone. The Fréchet distance belongs to a whole set of objects, so it is not "
    "compared."
)


@dataclass(frozen=True)
class Object:
    """The result of one job.

    Attributes:
        job: with its prompt, seed and setting.
        outcome: how the job ended, and its cost.
        error: why there is no object, or why it cannot be measured; empty for a measured object.
        values: the measured numbers, by the names of `METRICS`.
        details: further findings, for results.json.
        features: (views, F), for the Fréchet distance, or None.
    """

    job: Job
    outcome: Record
    error: str = ""
    values: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict, repr=False)
    features: np.ndarray | None = field(default=None, repr=False)

    def value(self, metric: Metric, askable: Collection[str]) -> float | None:
        """The object's number for a metric, or None if it has none.

        Args:
            metric: one of `METRICS`.
            askable: names of the metrics in which failed objects of this prompt count (`Examiner.askable`).
        """
        if metric.name == "failed":
            return float(bool(self.error))
        if metric.name == "seconds":
            return self.outcome.seconds
        if metric.name == "evaluations":
            return float(self.outcome.model_evaluations)
        if self.error:
            return metric.of_failures if metric.name in askable else None
        return self.values.get(metric.name)


@dataclass(frozen=True)
class Comparison:
    """One setting minus another in one metric; for ratios, the difference of their distances from 1."""

    metric: Metric
    interval: Interval
    verdict: Verdict


class Results:
    """All objects of an evaluation.

    Args:
        objects: by the setting's name, in the order of the table's columns.
        askable: returns the metrics in which failed objects of a prompt count (`Examiner.askable`).
        truth_features: (N, F), for the Fréchet distance, or None for a table without it.
    """

    def __init__(
        self,
        objects: dict[str, list[Object]],
        askable: Callable[[str], Collection[str]],
        truth_features: np.ndarray | None = None,
    ) -> None:
        self.objects = objects
        self._askable = askable
        self._truth_features = truth_features

    def summary(self, setting: str) -> dict[str, Any]:
        """A setting's means by the metrics' names; for seconds the median, with the 90th percentile in `NAME_90`."""
        objects = self.objects[setting]
        found: dict[str, Any] = {"objects": len(objects), "failures": sum(bool(one.error) for one in objects)}
        for metric in METRICS:
            values = [value for one in objects if (value := self._value(one, metric)) is not None]
            if values:
                found[metric.name] = statistics.fmean(values)
            if metric.kind == "seconds" and values:
                found[metric.name] = statistics.median(values)
                found[f"{metric.name}_90"] = float(np.quantile(values, 0.9))
        features = [one.features for one in objects if one.features is not None]
        if self._truth_features is not None and features:
            found["frechet"] = frechet(np.concatenate(features), self._truth_features)
        return found

    def compare(self, setting: str, other: str) -> list[Comparison]:
        """One setting minus another in each metric, over the prompts and seeds for which both have a number."""
        others = {(one.job.prompt, one.job.seed): one for one in self.objects[other]}
        compared = []
        for metric in METRICS:
            differences: dict[str, list[float]] = {}
            for one in self.objects[setting]:
                twin = others.get((one.job.prompt, one.job.seed))
                value, reference = self._value(one, metric), self._value(twin, metric) if twin is not None else None
                if value is None or reference is None:
                    continue
                if metric.kind == "ratio":
                    value, reference = abs(value - 1.0), abs(reference - 1.0)
                differences.setdefault(one.job.prompt, []).append(value - reference)
            if differences:
                interval = paired_bootstrap(differences)
                verdict = interval.verdict(higher_is_better=metric.higher_is_better)
                compared.append(Comparison(metric, interval, verdict))
        return compared

    def _value(self, one: Object, metric: Metric) -> float | None:
        return one.value(metric, self._askable(one.job.prompt))


def judge_lines(accuracy: dict[str, dict[str, float]]) -> list[str]:
    """The judge's own accuracy (`accuracy.accuracy`), in words."""

    def listed(shares: dict[str, float]) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {100 * share:.1f} %" for name, share in shares.items())

    return [
        "The judge's own accuracy on new renders of the truth:",
        f"whole objects, eight views together: {listed(accuracy['object'])};",
        f"single pictures: {listed(accuracy['picture'])}.",
    ]


def table(results: Results, samples: dict[str, float] | None = None) -> list[str]:
    """A Markdown table: a row for each metric, a column for each setting, and last one for the 2D samples."""
    summaries = {name: results.summary(name) for name in results.objects}
    head = ["", *summaries, *(["2D samples"] if samples else [])]
    rows = [
        ["objects", *(str(found["objects"]) for found in summaries.values())],
        ["failures", *(str(found["failures"]) for found in summaries.values())],
    ]
    for metric in METRICS:
        if metric.name == "failed" or not any(metric.name in found for found in [*summaries.values(), samples or {}]):
            continue
        label = metric.label + (" (median, 90 %)" if metric.kind == "seconds" else "")
        rows.append([label, *(_cell(metric, found) for found in summaries.values())])
        if samples:
            rows[-1].append(_cell(metric, samples))
    if any("frechet" in found for found in summaries.values()):
        shown = (f"{found['frechet']:.3g}" if "frechet" in found else "" for found in summaries.values())
        rows.append(["Fréchet distance", *shown])
    return _markdown(head, rows)


def comparison_table(comparisons: Mapping[str, Sequence[Comparison]]) -> list[str]:
    """A Markdown table of differences: metrics below each other, side by side the settings which one is taken from.

    Args:
        comparisons: by the settings' names, each with the same other one.
    """
    found = {name: {one.metric.name: one for one in compared} for name, compared in comparisons.items()}
    rows = []
    for metric in METRICS:
        if not any(metric.name in of_setting for of_setting in found.values()):
            continue
        unit = {"share": ", percentage points", "ratio": ", distance from 1"}.get(metric.kind, "")
        cells = (_difference(of_setting.get(metric.name)) for of_setting in found.values())
        rows.append([metric.label + unit, *cells])
    return _markdown(["", *comparisons], rows)


def commitment_lines(truth: Truth) -> list[str]:
    """What mode commitment comes to for the truth, and for the average of the instances."""

    def said(one: Commitment) -> str:
        known = {"shape": one.shape, "texture": one.texture}
        return " and ".join(f"{value:.3f} in {name}" for name, value in known.items() if value is not None)

    if not said(truth.commitment):
        return []
    return [
        f"Mode commitment is 0 for the mean of {TRUTHS} instances of a caption and 1 for one of them; another instance "
        f"has {said(truth.commitment)}, and their average, made solid, {said(truth.average_commitment)}."
    ]


def _difference(one: Comparison | None) -> str:
    """Mean, interval, and the verdict where there is one."""
    if one is None:
        return ""
    factor, form = (100.0, "{:+.1f}") if one.metric.kind == "share" else (1.0, "{:+.3g}")
    mean, low, high = (form.format(factor * x) for x in (one.interval.mean, one.interval.low, one.interval.high))
    told = "" if one.verdict == "cannot be told" else f" {one.verdict}"
    return f"{mean} ({low} … {high}){told}"


def _cell(metric: Metric, found: dict[str, Any]) -> str:
    value = found.get(metric.name)
    if value is None:
        return ""
    if metric.kind == "share":
        return f"{100 * value:.1f} %"
    if metric.kind == "seconds":
        return f"{value:.1f}, {found[f'{metric.name}_90']:.1f}"
    if metric.kind == "count":
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"  # a mean of less than one half is not none
    return f"{value:.3f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    filled = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    sides = ["<", *[">"] * (len(head) - 1)]
    widths = [max(len(cells[column]) for cells in [head, *filled]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = [f"{':' if side == '>' else '-':->{width}}" for side, width in zip(sides, widths, strict=True)]
    return [line(head), f"| {' | '.join(rule)} |", *map(line, filled)]
