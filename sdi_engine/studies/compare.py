"""All choices of κ side by side in 3D."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..contract.request import JobRequest
from ..distillation.noise import CHOICES
from .plots import Panel, Points, plot_residuals
from .results import Results
from .runs import AZIMUTHS_DEG, Run3D, caption
from .sheets import Cell, Row, contact_sheet
from .study import Report, prepare, save_json, save_picture


def compare(request: JobRequest, folder: Path, report: Report) -> dict[str, Any]:
    """Do one run for every κ; write `sheet.png`, with a row for each, `residuals.png`, with how far each κ was from
    solving eq. (8) along its own run, and `result.json`.

    Args:
        request: validated; its `noise` is ignored.
        folder: an empty folder, or one of an earlier comparison or of figures, whose finished runs are reused.

    Returns:
        The content of `result.json`.
    """
    study = prepare(request, report)
    results = Results(study, folder)
    runs = [Run3D(noise, request.prompt, dataclasses.replace(study.settings, noise=noise)) for noise in CHOICES]
    rows: list[Row] = []
    measured: list[dict[str, Any]] = []
    curves: dict[str, Points] = {}
    for run in runs:
        result = results.get(run, report)
        pictures = result.pictures or (None,) * len(AZIMUTHS_DEG)
        rows.append(Row(f"{run.label}\n{caption(result)}", [Cell(picture) for picture in pictures]))
        measured.append({"noise": run.label, "run": results.key(run), **result.numbers})
        curves[run.label] = [(t, value) for t, value in result.numbers.get("residuals", [])]
    steps = study.settings.steps
    title = f'"{request.prompt}"\n{request.model}, {steps} steps, guidance {study.guidance_scale:g}'
    columns = [f"{azimuth:.0f}°" for azimuth in AZIMUTHS_DEG]
    save_picture(contact_sheet(rows, columns, title), folder / "sheet.png")
    plot_residuals([Panel("each along its own run", curves)], f"“{request.prompt}”", folder / "residuals.png")
    result = study.identity(request.prompt) | {
        "steps": steps,
        "guidance_scale": study.guidance_scale,
        "runs": measured,
        "sheet": "sheet.png",
        "residuals": "residuals.png",
    }
    return save_json(result, folder / "result.json")
