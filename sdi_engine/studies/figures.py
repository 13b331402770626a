"""The paper's figures, reproduced with any model: their columns, their runs and their contact sheets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.parameters import following_seed
from ..config.settings import Settings
from ..contract import events
from ..contract.job_folder import storage_errors
from ..contract.request import JobRequest
from ..distillation.noise import CHOICES
from ..errors import BadInputError
from ..run.text_to_mesh import tell_how_it_reads
from ..system.files import write_atomically
from .distill2d import DDIM
from .noise_error import DEFAULT_POINTS, ResidualRun, guidance_variants, kappa_variants, panels, sdi_run
from .plots import plot_residuals
from .results import Result, Results, Run
from .runs import Run2D, Run3D, caption
from .sampling import DEFAULT_STEPS
from .sheets import Cell, Row, block, contact_sheet
from .statistics import paired_bootstrap
from .study import Report, Study, prepare, save_json, save_picture

PICTURE_EDGE = 320
"""Four views of 160 pixels."""

INVERSION_STEPS_PER_UNIT = (3, 5, 10, 20, 30)

MAX_SEEDS = 64

COMPARED = ("sharpness", "saturation", "seconds", "evaluations")
"""Numbers of runs whose differences Fig. 1 tells."""


@dataclass(frozen=True)
class FigureRow:
    """Runs side by side, with a label on their left.

    Attributes:
        label: the prompt, and what it stands for besides.
        runs: one for each column.
        prompt: rows of one prompt are alike, for intervals.
        is_drawn: it is in the picture, and not just in the numbers.
    """

    label: str
    runs: Sequence[Run]
    prompt: str = ""
    is_drawn: bool = True


@dataclass(frozen=True)
class Figure:
    """The content of a figure.

    Attributes:
        caption: based on the paper's.
        columns: their headings.
        rows: each with as many runs as there are columns.
        residuals: a run whose residuals are plotted in a picture of their own, and the index of its panel; or None.
        differences: pairs of columns, of which the first minus the second is told with its interval.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[FigureRow]
    residuals: tuple[ResidualRun, int] | None = None
    differences: Sequence[tuple[int, int]] = ()


def figures(
    request: JobRequest,
    folder: Path,
    report: Report,
    numbers: Sequence[str],
    prompts: Sequence[str],
    seeds: int = 1,
    most_prompts: int | None = None,
) -> dict[str, Any]:
    """Write `figure-N.png` and `figure-N.json` for every number N, and `figure-N-residuals.png` where the paper has
    such a plot; with Fig. 1 also `figure-1.md`, the differences between its columns.

    Args:
        request: validated; every run takes all but its prompt and noise from it, and 3D runs its `steps`.
        folder: an empty folder, or one of earlier figures, whose finished runs are reused.
        numbers: keys of `FIGURES`.
        prompts: validated, at least one; residuals are measured with the first.
        seeds: Fig. 1 does every run with so many, from the request's on, 1 to `MAX_SEEDS`; the picture has the first.
        most_prompts: so many of the prompts are in all figures, and the others in Fig. 1 only; None has all in all.

    Returns:
        The contents of the JSON files, by number, in "figures".

    Raises:
        BadInputError: `seeds` is out of range.
    """
    if not 1 <= seeds <= MAX_SEEDS:
        raise BadInputError(f'The setting "seeds" is {seeds}: it must be between 1 and {MAX_SEEDS}.')
    study = prepare(request, report)
    for prompt in prompts:
        if prompt != request.prompt:
            tell_how_it_reads(study.prior, prompt, "", report)
    results = Results(study, folder)
    make = FIGURES | {"1": lambda study, prompts: figure_1(study, prompts, seeds)}
    chosen = {n: make[n](study, prompts if n == "1" else prompts[:most_prompts]) for n in numbers}
    _do_all(list(chosen.values()), results, report)
    return {"figures": {number: _draw(number, chosen[number], study, results, folder, report) for number in numbers}}


def figure_1(study: Study, prompts: Sequence[str], seeds: int = 1) -> Figure:
    """DDIM, SDS and SDI in 2D and in 3D: with the wrong noise, score distillation is not DDIM, and 3D comes out
    blurred. The last column is not the paper's: the cached noise of 2D, kept on the object."""
    first = study.request.seed
    sds = dataclasses.replace(study.settings, noise="random", anneal=False)
    sdi = dataclasses.replace(study.settings, noise="inversion")
    cached = dataclasses.replace(study.settings, noise="cached-3d")
    return Figure(
        "Fig. 1: a change of variables turns DDIM into SDS, up to the noise; SDI finds that noise",
        ("(a) DDIM, 2D", "(b) SDS, 2D", "(c) SDI, 2D", "(d) SDS, 3D", "(e) SDI, 3D", "(f) cached, 3D"),
        [
            FigureRow(
                f"{prompt}, seed {seed}" if seeds > 1 else prompt,
                [
                    Run2D("DDIM in 2D", prompt, DDIM, DEFAULT_STEPS, seed),
                    Run2D("SDS in 2D", prompt, "random", DEFAULT_STEPS, seed),
                    Run2D("SDI in 2D", prompt, "inversion", DEFAULT_STEPS, seed),
                    Run3D("SDS", prompt, sds, seed),
                    Run3D("SDI", prompt, sdi, seed),
                    Run3D("cached", prompt, cached, seed),
                ],
                prompt,
                is_drawn=seed == first,
            )
            for prompt in prompts
            for seed in (following_seed(first, number) for number in range(seeds))
        ],
        differences=((1, 0), (2, 0), (2, 1), (4, 3), (5, 3), (5, 4)),
    )


def figure_8(study: Study, prompts: Sequence[str]) -> Figure:
    """Ablation: SDS with the guidance scale of SDI, then one improvement after the other.

    The last column has the noise cached on the object in the place of inversion's; it is not the paper's.
    """
    resolution = study.settings.resolution
    assert resolution is not None
    full_resolution = dataclasses.replace(study.settings, noise="random", anneal=False)
    annealed = dataclasses.replace(full_resolution, anneal=True)
    variants = {
        "SDS, half resolution": dataclasses.replace(full_resolution, resolution=resolution // 2),
        "+ full resolution": full_resolution,
        "+ annealed t": annealed,
        "+ inversion": dataclasses.replace(annealed, noise="inversion"),
        "or + cache": dataclasses.replace(annealed, noise="cached-3d"),
    }
    return Figure("Fig. 8: ablation of the improvements", tuple(variants), _rows_3d(variants, prompts))


def figure_9(study: Study, prompts: Sequence[str]) -> Figure:
    """The choices of κ in 3D and in 2D, and their residuals of eq. (8)."""
    rows: list[FigureRow] = []
    for prompt, row_3d in zip(prompts, _rows_3d(kappa_variants(study.settings), prompts), strict=True):
        runs_2d = [Run2D(f"{noise} in 2D", prompt, noise, DEFAULT_STEPS) for noise in CHOICES]
        rows += [FigureRow(f"{prompt}, 3D", row_3d.runs), FigureRow(f"{prompt}, 2D", runs_2d)]
    return Figure("Fig. 9: choices of the noise", tuple(CHOICES), rows, (_residual_run(study, prompts), 0))


def figure_10(study: Study, prompts: Sequence[str]) -> Figure:
    """The guidance scales of inversion and of prediction."""
    variants = guidance_variants(study.settings)
    return Figure(
        "Fig. 10: guidance scales (of inversion, of prediction)",
        tuple(variants),
        _rows_3d(variants, prompts),
        (_residual_run(study, prompts), 1),
    )


def figure_11(study: Study, prompts: Sequence[str]) -> Figure:
    """The number of steps of an inversion."""
    variants = {
        f"{steps} steps": dataclasses.replace(study.settings, noise="inversion", inversion_steps_per_unit=steps)
        for steps in INVERSION_STEPS_PER_UNIT
    }
    caption = "Fig. 11: steps of an inversion to t = 1"
    return Figure(caption, tuple(variants), _rows_3d(variants, prompts))


FIGURES: dict[str, Callable[[Study, Sequence[str]], Figure]] = {
    "1": figure_1,
    "8": figure_8,
    "9": figure_9,
    "10": figure_10,
    "11": figure_11,
}


def _rows_3d(variants: dict[str, Settings], prompts: Sequence[str]) -> list[FigureRow]:
    return [
        FigureRow(prompt, [Run3D(name, prompt, settings) for name, settings in variants.items()]) for prompt in prompts
    ]


def _residual_run(study: Study, prompts: Sequence[str]) -> ResidualRun:
    return ResidualRun(sdi_run(study, prompts[0]), DEFAULT_POINTS)


def _do_all(chosen: Sequence[Figure], results: Results, report: Report) -> None:
    """Do all runs that are not finished yet; a run that several figures share is done once."""
    residual_runs = {results.key(figure.residuals[0]): figure.residuals[0] for figure in chosen if figure.residuals}
    runs: dict[str, Run] = {results.key(run): run for figure in chosen for row in figure.rows for run in row.runs}
    for residual_run in residual_runs.values():
        runs.pop(results.key(residual_run.run), None)  # the residual run does it too
    missing = [run for run in (*residual_runs.values(), *runs.values()) if results.find(run) is None]
    for number, run in enumerate(missing, start=1):
        report(events.Notice(f"Run {number} of {len(missing)}: {run.name}"))
        results.get(run, report)
    for residual_run in residual_runs.values():
        measured = results.get(residual_run, report)
        results.keep(residual_run.run, Result(measured.pictures, measured.numbers["run"]))


def _draw(number: str, figure: Figure, study: Study, results: Results, folder: Path, report: Report) -> dict[str, Any]:
    """Write a figure's files; returns the content of its JSON file."""
    rows: list[Row] = []
    measured: list[dict[str, Any]] = []
    for row in figure.rows:
        cells: list[Cell] = []
        for column, run in zip(figure.columns, row.runs, strict=True):
            result = results.get(run, report)
            cells.append(Cell(block(result.pictures) if result.pictures else None, caption(result)))
            measured.append({"row": row.label, "column": column, "run": results.key(run), **result.numbers})
        if row.is_drawn:
            rows.append(Row(row.label, cells))
    picture = f"figure-{number}.png"
    title = f"{figure.caption}\n{study.request.model}, {study.settings.steps} steps, guidance {study.guidance_scale:g}"
    save_picture(contact_sheet(rows, figure.columns, title, PICTURE_EDGE), folder / picture)
    content = {
        "caption": figure.caption,
        "model": study.request.model,
        "guidance_scale": study.guidance_scale,
        "picture": picture,
        "runs": measured,
    }
    if figure.differences:
        content["differences"] = _differences(figure, results, report)
        content["table"] = f"figure-{number}.md"
        with storage_errors(folder):
            write_atomically(folder / content["table"], _table(content["differences"]))
    if figure.residuals:
        residual_run, panel = figure.residuals
        plot = f"figure-{number}-residuals.png"
        numbers = results.get(residual_run, report).numbers
        plot_residuals([panels(numbers)[panel]], f"“{residual_run.run.prompt}”", folder / plot)
        content["residuals"] = {
            "prompt": residual_run.run.prompt,
            "plot": plot,
            "t": numbers["t"],
            "curves": numbers[("kappa", "guidance")[panel]],
        }
    return save_json(content, folder / f"figure-{number}.json")


def _differences(figure: Figure, results: Results, report: Report) -> list[dict[str, Any]]:
    """How columns differ in each number that both have: the mean over prompts and seeds with its 95 % interval."""
    found = []
    for one, other in figure.differences:
        for label in COMPARED:
            differences: dict[Hashable, list[float]] = {}
            for row in figure.rows:
                ours, theirs = (results.get(row.runs[column], report).numbers.get(label) for column in (one, other))
                if ours is not None and theirs is not None:
                    differences.setdefault(row.prompt, []).append(ours - theirs)
            if differences:
                pair = {"column": figure.columns[one], "minus": figure.columns[other], "number": label}
                found.append(pair | dataclasses.asdict(paired_bootstrap(differences)))
    return found


def _table(differences: Sequence[dict[str, Any]]) -> str:
    lines = ["| column | minus | | difference | 95 % interval | prompts |", "|---|---|---|---:|---:|---:|"]
    for one in differences:
        mean, low, high = (f"{one[name]:+.3g}" for name in ("mean", "low", "high"))
        words = (one["column"], one["minus"], one["number"], mean, f"{low} … {high}", str(one["prompts"]))
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"
