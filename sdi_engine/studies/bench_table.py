"""What `bench.bench` has measured, as lines for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bench import IMAGES, IN_3D, MODEL

_ONCE = {"read": "reading the mesh, and a UV map where it has none", "bake": "baking the texture"}
"""By the names of phases of a job about a mesh."""

NAME_WIDTH = 26
COLUMN_WIDTH = 11


def table(result: Mapping[str, Any]) -> list[str]:
    """Seconds by part, with a column for each place of the schedule, and what a whole run comes to."""
    steps = result["steps"]
    run, extras = result["run"], result["extras"]
    parts = [MODEL, IMAGES, *IN_3D]
    others = [name for step in steps for name in step["parts"] if name not in parts]
    rows = [part for part in (*parts, *dict.fromkeys(others)) if any(part in step["parts"] for step in steps)]
    peaks = [part for part in rows if any(step["peak_mb"].get(part) for step in steps)]
    without = "with its texture" if result["of_mesh"] else "without the export"
    size = f"{result['resolution']} px, {result['views_per_step']} views a step"
    return [
        f"{result['model']}, {result['preset']}, {size}, {result['device']}",
        "",
        _row("seconds of a step", [step["name"].replace(", shaded", " lit") for step in steps]),
        *(_row(f"  {part}", [_seconds(step["parts"].get(part, 0.0)) for step in steps]) for part in rows),
        _row("  in all", [_seconds(step["seconds"]) for step in steps]),
        _row("floor", [_seconds(step["floor"]) for step in steps]),
        _row("  evaluations alone", [_seconds(step["floor_model"]) for step in steps]),
        _row("  encoder, gradient alone", [_seconds(step["floor_encoder"]) for step in steps]),
        _row("ratio to the floor", [f"{step['ratio']:.2f}" for step in steps]),
        _row("images evaluated", [f"{step['evaluations']:.0f}" for step in steps]),
        *([_row("peak memory, MB", [])] if peaks else []),
        *(_row(f"  {part}", [f"{step['peak_mb'].get(part, 0.0):.0f}" for step in steps]) for part in peaks),
        "",
        f"to the first step: {result['seconds_to_first_step']:.1f} s, of which {result['seconds_load']:.1f} s to load",
        f"a preview: {extras['preview']:.2f} s; what happens once: {extras['once']:.2f} s",
        f"a checkpoint of {extras['checkpoint_mb']:.1f} MB: {extras['checkpoint']:.2f} s, of which the loop waits "
        f"{extras['checkpoint_copy']:.3f} s while it is copied; its steps take {extras['checkpoint_slows']:.3f} s "
        "longer while it is written beside them",
        *(f"{_ONCE[key]}: {seconds:.2f} s" for key, seconds in result["of_mesh"].items()),
        f"a whole run of {run['steps']} steps, {run['evaluations']:.0f} images evaluated, {without}: "
        f"{duration(run['seconds'])}; its floor {duration(run['floor'])}, ratio {run['ratio']:.2f}",
    ]


def duration(seconds: float) -> str:
    """For example "1 h 05 min", "12 min" or "40 s"."""
    if seconds < 100.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 100 else f"{minutes} min"


def _row(name: str, cells: list[str]) -> str:
    return f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>{COLUMN_WIDTH + 2}}" for cell in cells)


def _seconds(value: float) -> str:
    return f"{value:.4f}" if value < 1.0 else f"{value:.2f}"
