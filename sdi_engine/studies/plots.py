"""Curves over the diffusion time as the paper plots them, and scatter plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..contract.job_folder import storage_errors

PANEL_INCHES = (5.5, 4.2)
PANELS_ACROSS = 3
DOTS_PER_INCH = 110
RESIDUAL = "residual of eq. (8), σ·RMS(ε − κ)"

Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Panel:
    """One plot of curves: a title, and by name the pairs (t, value) of each; a value is None where it diverged."""

    title: str
    curves: Mapping[str, Points]


@dataclass(frozen=True)
class Scatter:
    """One scatter plot: a title, what is on the y axis, and by name the pairs (x, y) of each group."""

    title: str
    y: str
    groups: Mapping[str, Sequence[tuple[float, float]]]


def plot_residuals(panels: Sequence[Panel], title: str, file: Path) -> None:
    """Plot residuals of eq. (8) against t, which falls from left to right as in a run; raises StorageError."""
    figure, places = _figure(len(panels))
    for axes, panel in zip(places, panels, strict=True):
        axes.set_prop_cycle(color=colours(len(panel.curves)))
        for name, points in panel.curves.items():
            falling = sorted(points, key=lambda point: -point[0])
            axes.plot([t for t, _ in falling], [_number(value) for _, value in falling], marker=".", label=name)
        axes.set(title=panel.title, xlabel="t", ylabel=RESIDUAL, yscale="log", xlim=(1, 0))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left", fontsize="x-small")  # residuals fall towards the right
    _save(figure, title, file)


def plot_scatters(scatters: Sequence[Scatter], x: str, title: str, file: Path) -> None:
    """Plot every pair small, and each group's mean large; raises StorageError.

    Args:
        x: what is on the x axis, which is logarithmic.
    """
    figure, places = _figure(len(scatters))
    for axes, scatter in zip(places, scatters, strict=True):
        for (name, points), colour in zip(scatter.groups.items(), colours(len(scatter.groups)), strict=True):
            xs, ys = zip(*points, strict=True)
            axes.scatter(xs, ys, s=8, alpha=0.3, linewidths=0, color=colour)
            mean = (sum(xs) / len(xs), sum(ys) / len(ys))
            axes.scatter(*mean, s=90, color=colour, edgecolors="black", label=name)
        axes.set(title=scatter.title, xlabel=x, ylabel=scatter.y, xscale="log")
        axes.grid(alpha=0.3)
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside right upper")
    _save(figure, title, file)


def colours(count: int) -> list[tuple[float, ...]]:
    """So many colours, none of them twice up to twenty."""
    palette = colormaps["tab10" if count <= 10 else "tab20"].colors
    return [palette[index % len(palette)] for index in range(count)]


def _figure(count: int) -> tuple[Figure, list[Axes]]:
    across = min(count, PANELS_ACROSS)
    rows = -(-count // across)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * across, height * rows), dpi=DOTS_PER_INCH, layout="constrained")
    places = list(figure.subplots(rows, across, squeeze=False).flat)
    for unused in places[count:]:
        unused.set_visible(False)
    return figure, places[:count]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _save(figure: Figure, title: str, file: Path) -> None:
    figure.suptitle(title)
    with storage_errors(file.parent):
        figure.savefig(file)
