"""Curves over the diffusion time, as the paper plots them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ..contract.job_folder import storage_errors

PANEL_INCHES = (5.5, 4.2)
DOTS_PER_INCH = 110


@dataclass(frozen=True)
class Panel:
    """One plot: a title, the times (n,), and curves of n values by name."""

    title: str
    times: Sequence[float]
    curves: Mapping[str, Sequence[float]]


def plot_residuals(panels: Sequence[Panel], prompt: str, file: Path) -> None:
    """Plot residuals of eq. (8) against t, which falls from left to right as in a run; raises StorageError."""
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), dpi=DOTS_PER_INCH, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, values in panel.curves.items():
            points = sorted(zip(panel.times, values, strict=True))
            axes.plot([t for t, _ in points], [value for _, value in points], marker=".", label=name)
        axes.set(title=panel.title, xlabel="t", ylabel="residual of eq. (8), σ·RMS(ε − κ)", yscale="log", xlim=(1, 0))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(f"“{prompt}”")
    with storage_errors(file.parent):
        figure.savefig(file)
