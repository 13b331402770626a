"""What the residual of eq. (8) has to do with the quality of the objects: over the settings of an evaluation.

Every run writes down how far its own κ was from the fixed point in each step (`Optimisation.residuals`), and `evaluate`
measures what became of it. Along their own runs settings see different renders, and the residual is the distance of a
render from its target, which an object that the model likes has made small, too; `noise_error` compares the choices of
κ on the same renders.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..errors import BadInputError
from ..system.files import read_json_object
from .plots import RESIDUAL, Panel, Scatter, plot_residuals, plot_scatters
from .statistics import paired_bootstrap
from .study import save_json

EVALUATION_FILE = "results.json"

QUALITIES = {
    "iou": "silhouette IoU",
    "normals": "normal consistency",
    "sharpness": "sharpness (truth 1)",
    "shape_commitment": "mode commitment, shape",
    "texture_commitment": "mode commitment, texture",
    "pattern": "pattern recognised",
}

LEAST_SETTINGS = 2

Object = dict[str, Any]


def residual_quality(evaluation: Path, folder: Path) -> dict[str, Any]:
    """Write `curves.png` (residuals along the runs of each setting), `scatter.png` and `result.json`.

    Args:
        evaluation: the folder of a finished `evaluate`.
        folder: of the results.

    Returns:
        The content of `result.json`: by setting the mean curve and the mean residual; by quality Spearman's rank
        correlation with the residual, over the settings' means ("over_settings"), and within prompt and seed over the
        objects of all settings, as a mean with its 95 % interval ("within_prompts"; None if there is none).

    Raises:
        BadInputError: the folder has no finished evaluation, or one of fewer than two settings with residuals.
    """
    by_setting = _objects(evaluation)
    curves = {name: _mean_curve(objects) for name, objects in by_setting.items()}
    residuals = {name: fmean(_value(one, "residual") for one in objects) for name, objects in by_setting.items()}
    scatters, correlations = [], {}
    for quality, label in QUALITIES.items():
        known = {name: [one for one in some if quality in one["values"]] for name, some in by_setting.items()}
        groups = {
            name: [(_value(one, "residual"), _value(one, quality)) for one in some]
            for name, some in known.items()
            if some
        }
        if groups:
            correlations[quality] = _correlations(known, groups, quality)
            over = correlations[quality]["over_settings"]
            told = "" if over is None else f"\nrank correlation over settings {over:+.2f}"
            scatters.append(Scatter(label + told, label, groups))
    title = f"{len(by_setting)} settings, {sum(map(len, by_setting.values()))} objects"
    plot_residuals([Panel("mean along the runs", curves)], title, folder / "curves.png")
    if scatters:  # of objects that nobody can measure there are only curves
        plot_scatters(scatters, f"mean {RESIDUAL}", title, folder / "scatter.png")
    result = {
        "settings": {name: {"residual": residuals[name], "curve": curves[name]} for name in by_setting},
        "correlations": correlations,
        "curves": "curves.png",
        "scatter": "scatter.png" if scatters else None,
    }
    return save_json(result, folder / "result.json")


def rank_correlation(x: list[float], y: list[float]) -> float | None:
    """Spearman's ρ, −1…1, with mean ranks for ties; None where x or y is the same everywhere, or there are fewer than
    two."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _objects(evaluation: Path) -> dict[str, list[Object]]:
    """The objects with residuals, by setting."""
    found = read_json_object(evaluation / EVALUATION_FILE)
    if found is None or not isinstance(found.get("objects"), list):
        raise BadInputError(f'"{evaluation}" has no finished evaluation ({EVALUATION_FILE}): run evaluate there first.')
    by_setting: dict[str, list[Object]] = defaultdict(list)
    for one in found["objects"]:
        if "residual" in one["values"] and one["details"].get("residuals"):
            by_setting[one["setting"]].append(one)
    if len(by_setting) < LEAST_SETTINGS:
        raise BadInputError(
            f'The evaluation "{evaluation}" has residuals for fewer than two settings: evaluate several choices of '
            'noise, such as --setting "SDS: noise=random".'
        )
    return dict(by_setting)


def _mean_curve(objects: list[Object]) -> list[tuple[float, float]]:
    """The mean of the objects' curves; of those with as many points as the longest."""
    curves = [one["details"]["residuals"] for one in objects]
    longest = max(map(len, curves))
    points = np.mean([curve for curve in curves if len(curve) == longest], axis=0)
    return [(float(t), float(value)) for t, value in points]


def _correlations(
    known: dict[str, list[Object]], groups: dict[str, list[tuple[float, float]]], quality: str
) -> dict[str, Any]:
    means = [tuple(fmean(values) for values in zip(*points, strict=True)) for points in groups.values()]
    pairs: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for some in known.values():
        for one in some:
            pairs[one["prompt"], one["seed"]].append((_value(one, "residual"), _value(one, quality)))
    within: dict[str, list[float]] = defaultdict(list)
    for (prompt, _), points in pairs.items():
        rho = rank_correlation([x for x, _ in points], [y for _, y in points])
        if rho is not None:
            within[prompt].append(rho)
    interval = paired_bootstrap(within) if within else None
    return {
        "over_settings": rank_correlation([x for x, _ in means], [y for _, y in means]),
        "within_prompts": None
        if interval is None
        else {"mean": interval.mean, "low": interval.low, "high": interval.high, "prompts": interval.prompts},
    }


def _ranks(values: list[float]) -> list[float]:
    ordered = np.sort(values)
    return [(np.searchsorted(ordered, v, "left") + np.searchsorted(ordered, v, "right") - 1) / 2 for v in values]


def _value(one: Object, name: str) -> float:
    return float(one["values"][name])
