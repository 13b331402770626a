"""Evaluates 3D quality: makes objects for prompts x seeds x settings, measures and compares them."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
import statistics
import zipfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .. import errors
from ..contract import events
from ..contract.job_folder import JobFolder, storage_errors
from ..diffusion.loading import LoadPrior
from ..errors import BadInputError
from ..run.previews import to_image
from ..service.device import device_taken
from ..service.pool import check_processes
from ..service.pools import open_pool, suitable_processes
from ..starter.world import Subject
from ..studies.sheets import Cell, Row, folded_sheet
from ..studies.study import save_json, save_picture
from ..system.files import read_json_object, write_atomically
from ..system.locks import ProcessLock
from .commitment import Commitment
from .equal_time import known_steps, steps_for_equal_time
from .examiner import Examined, Examiner, Truth
from .painting import painting_quality
from .pictures import load_mesh
from .plan import Plan
from .portraits import portraits, truth_portraits
from .report import NOTE, Comparison, Object, Results, commitment_lines, comparison_table, judge_lines, table
from .runs import JOBS_FOLDER, LOG_FILE, Record, run_jobs
from .samples import make_samples, read_samples, sample_view

SHEET_VIEWS = {"front": 0.0, "back left": 135.0}
SHEET_EDGE = 128

EXAMINED_FILE = "examined.json"
TRUTH_FILE = "truth.npz"

BASELINE = "baseline "
"""Prefix of the settings' names of another evaluation that this one is compared with."""

Report = Callable[[events.Event], None]


def evaluate(
    plan: Plan,
    folder: Path,
    report: Report,
    processes: int | None = None,
    clip: Path | None = None,
    baseline: Path | None = None,
    examiner: Examiner | None = None,
    load: LoadPrior | None = None,
    cluster: str = "",
) -> dict[str, Any]:
    """Make the missing objects of a plan and measure all; writes `results.md`, `results.json` and `sheet.png`.

    Args:
        plan: what to make.
        folder: an empty folder, or that of an evaluation to continue, with the same plan or one that this plan extends.
        report: gets the progress.
        processes: how many jobs run at once; by default one per core, or one on a GPU.
        clip: the folder of a CLIP model, for CLIP scores.
        baseline: the folder of another evaluation to compare with; it must share a prompt and a seed.
        examiner: measures the results; by default with the judge, and with CLIP if `clip` is given.
        load: loads the model of the 2D samples, `load_prior` by default.
        cluster: the address of a Ray cluster that makes the objects; 2D samples and measurements are made here.

    Returns:
        The content of `results.json` without the single objects; "table" has the lines of `results.md`.

    Raises:
        EngineError: of the kinds in `sdi_engine.errors`.
        KeyboardInterrupt: it was stopped; the same call continues it.
    """
    if processes is None:
        processes = suitable_processes(plan.device)
    check_processes(processes)
    examiner = examiner or Examiner(plan.prompts, clip)  # a missing judge is reported before hours of work
    other = Plan.load(baseline) if baseline is not None else None
    if other is not None and not (set(plan.prompts) & set(other.prompts) and set(plan.seeds) & set(other.seeds)):
        raise BadInputError(
            f'The baseline "{baseline}" shares no prompt and seed with this evaluation: choose another.'
        )
    lock = ProcessLock(f"evaluation {folder.resolve()}")
    if not lock.acquire():
        raise BadInputError(f'Another process works on the evaluation "{folder}": wait for it or stop it.')
    with lock:
        plan.save(folder)
        device = nullcontext() if cluster else device_taken(report, folder)  # a cluster works on devices of its own
        with device, open_pool(processes, folder / LOG_FILE, cluster) as pool:
            steps = steps_for_equal_time(plan, folder, pool, report)
            run_jobs(folder, plan.jobs(steps), pool, report)
        with device_taken(report, folder):
            make_samples(plan, folder, report, load)

    objects = _objects(plan, folder, examiner, report)
    baselines: dict[str, list[Object]] = {}
    if other is not None and baseline is not None:
        baselines = _objects(other, baseline, examiner, report, only=plan, prefix=BASELINE)
    truth = _truth(folder, examiner)
    results = Results(objects | baselines, examiner.askable, truth.features if truth is not None else None)
    comparisons = {pair: results.compare(*pair) for pair in _pairs(list(objects), list(baselines))}
    samples = _judged_samples(plan, folder, examiner)
    accuracy = examiner.judge_accuracy()

    command = _command(plan, folder, processes, clip, baseline)
    lines = ["```", *command, "```", "", *(judge_lines(accuracy) if accuracy else [])]
    lines += ["", *(commitment_lines(truth) if truth is not None else []), "", *table(results, samples), "", NOTE]
    lines += _steps_lines(steps)
    for reference in dict.fromkeys(pair[1] for pair in comparisons):
        columns = {pair[0]: compared for pair, compared in comparisons.items() if pair[1] == reference}
        lines += ["", f'Minus "{reference}":', "", *comparison_table(columns)]
    lines += _failure_lines(objects)
    with storage_errors(folder):
        write_atomically(folder / "results.md", "\n".join(lines).strip() + "\n")
    save_picture(_sheet(plan, folder, objects, examiner), folder / "sheet.png")
    found: dict[str, Any] = {
        "command": " ".join(line.removesuffix("\\").strip() for line in command),
        "judge": accuracy,
        "truth": _truth_json(truth),
        "settings": {name: results.summary(name) for name in results.objects},
        "equal_time_steps": steps,
        "comparisons": [_comparison_json(*pair, compared) for pair, compared in comparisons.items()],
        "samples": samples,
        "processes": processes,
        "sheet": "sheet.png",
    }
    every = [_object_json(one) for some in results.objects.values() for one in some]
    save_json({"plan": dataclasses.asdict(plan), **found, "objects": every}, folder / "results.json")
    return {**found, "table": lines}


def _objects(
    plan: Plan, folder: Path, examiner: Examiner, report: Report, only: Plan | None = None, prefix: str = ""
) -> dict[str, list[Object]]:
    """The objects of all finished jobs, by setting; with `only`, just those of its prompts and seeds."""
    found: dict[str, list[Object]] = {}
    jobs = [
        job
        for job in plan.jobs(known_steps(folder))
        if only is None or (job.prompt in only.prompts and job.seed in only.seeds)
    ]
    for done, job in enumerate(jobs):
        report(events.Progress("Measuring the objects", done, len(jobs)))
        path = folder / JOBS_FOLDER / job.key
        record = Record.of(path)
        if record is None or not record.is_final:
            continue  # a baseline may be unfinished
        one = Object(job, record, record.error)
        if record.exit_code == errors.EXIT_DONE:
            try:
                found_in_it = _examined(path, job.prompt, examiner)
                residuals = (JobFolder(path).result() or {}).get("residuals", [])
                mean = {"residual": statistics.fmean(value for _, value in residuals)} if residuals else {}
                painting = painting_quality(JobFolder(path)) if plan.task == "texture" else {}
                one = Object(
                    job,
                    record,
                    values=found_in_it.values | mean | painting,
                    details=found_in_it.details | {"residuals": residuals},
                    features=found_in_it.features,
                )
            except BadInputError as error:
                one = Object(job, record, str(error))
        found.setdefault(prefix + job.setting, []).append(one)
    return found


def _examined(path: Path, prompt: str, examiner: Examiner) -> Examined:
    """The examiner's findings on the mesh in a job folder, stored there so that no mesh is examined twice.

    Raises:
        BadInputError: the mesh is empty or broken.
    """
    known = read_json_object(path / EXAMINED_FILE)
    if known is None or known.get("by") != examiner.fingerprint:
        new = examiner.examine(JobFolder(path).mesh_file, prompt)
        features = None if new.features is None else new.features.tolist()
        known = {"by": examiner.fingerprint, "values": new.values, "details": new.details, "features": features}
        with storage_errors(path):
            write_atomically(path / EXAMINED_FILE, json.dumps(known) + "\n")
    features = None if known["features"] is None else np.array(known["features"])
    return Examined(known["values"], features, known["details"])


def _truth(folder: Path, examiner: Examiner) -> Truth | None:
    """`Examiner.truth`, stored in the folder, since making all the world's things takes minutes."""
    file = folder / TRUTH_FILE
    stored = _stored_truth(file, examiner.fingerprint)
    if stored is not None:
        return stored
    truth = examiner.truth()
    if truth is not None:
        commitment = json.dumps([dataclasses.asdict(one) for one in (truth.commitment, truth.average_commitment)])
        content = io.BytesIO()
        np.savez(content, by=examiner.fingerprint, features=truth.features, commitment=commitment)
        with storage_errors(folder):
            write_atomically(file, content.getvalue())
    return truth


def _stored_truth(file: Path, fingerprint: str) -> Truth | None:
    """What an examiner of this fingerprint has stored; None without such a file, or where it is damaged."""
    try:
        with np.load(file) as stored:
            if str(stored["by"]) != fingerprint:
                return None
            one, average = (Commitment(**each) for each in json.loads(str(stored["commitment"])))
            return Truth(stored["features"], one, average)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _truth_json(truth: Truth | None) -> dict[str, Any] | None:
    if truth is None:
        return None
    return {
        "commitment": dataclasses.asdict(truth.commitment),
        "average_commitment": dataclasses.asdict(truth.average_commitment),
    }


def _command(plan: Plan, folder: Path, processes: int, clip: Path | None, baseline: Path | None) -> list[str]:
    """The command that comes to this evaluation, and goes on with it, an option a line."""
    options = ["-o", str(folder), *plan.arguments(), "--processes", str(processes)]
    options += ["--clip", str(clip)] * (clip is not None) + ["--baseline", str(baseline)] * (baseline is not None)
    pairs = [shlex.join(options[index : index + 2]) for index in range(0, len(options), 2)]
    lines = ["python -m sdi_engine evaluate", *(f"  {pair}" for pair in pairs)]
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _pairs(settings: Sequence[str], baselines: Sequence[str]) -> list[tuple[str, str]]:
    """The settings to compare: each of the others with the first, and each with its namesake in the baseline, or with
    the baseline's first."""
    pairs = [(other, settings[0]) for other in settings[1:]]
    if baselines:
        pairs += [(name, BASELINE + name if BASELINE + name in baselines else baselines[0]) for name in settings]
    return pairs


def _judged_samples(plan: Plan, folder: Path, examiner: Examiner) -> dict[str, float] | None:
    if not plan.samples:
        return None
    judged = [
        examiner.examine_samples(
            read_samples(plan, folder, prompt),
            [sample_view(plan, prompt, number) for number in range(plan.samples)],
            prompt,
        )
        for prompt in plan.prompts
    ]
    known = [shares for shares in judged if shares is not None]
    return {name: statistics.fmean(shares[name] for shares in known) for name in known[0]} if known else None


def _sheet(plan: Plan, folder: Path, objects: dict[str, list[Object]], examiner: Examiner) -> Any:
    """A contact sheet with a row per prompt: from two sides, each setting's object of the first seed, and the truth."""
    rows = []
    first = {(one.job.setting, one.job.prompt): one for some in objects.values() for one in reversed(some)}
    with_truth = any(examiner.subjects.values())
    for prompt in plan.prompts:
        cells: list[Cell] = []
        for setting in plan.settings:
            cells += _cells(first.get((setting.name, prompt)), folder)
        subject: Subject | None = examiner.subjects[prompt]
        if subject is not None:
            views = truth_portraits(subject, list(SHEET_VIEWS.values()), SHEET_EDGE)
            cells += [Cell(to_image(view)) for view in views]
        rows.append(Row(prompt, cells))
    names = [setting.name for setting in plan.settings] + (["truth"] if with_truth else [])
    columns = [f"{name}\n{view}" for name in names for view in SHEET_VIEWS]
    return folded_sheet(rows, columns, SHEET_EDGE)


def _cells(one: Object | None, folder: Path) -> list[Cell]:
    if one is None or one.error:
        return [Cell(None, "no object")] + [Cell(None)] * (len(SHEET_VIEWS) - 1)
    mesh = load_mesh(JobFolder(folder / JOBS_FOLDER / one.job.key).mesh_file)
    return [Cell(to_image(view)) for view in portraits(mesh, list(SHEET_VIEWS.values()), SHEET_EDGE)]


def _steps_lines(steps: dict[str, int]) -> list[str]:
    return [f'"{name}" runs {count} steps, by its equal_time.' for name, count in steps.items()]


def _failure_lines(objects: dict[str, list[Object]]) -> list[str]:
    failed = [one for some in objects.values() for one in some if one.error]
    if not failed:
        return []
    return [
        "",
        "Failures:",
        "",
        *(f"- {one.job.setting}, {one.job.prompt}, seed {one.job.seed}: {one.error}" for one in failed),
    ]


def _object_json(one: Object) -> dict[str, Any]:
    return {
        "prompt": one.job.prompt,
        "seed": one.job.seed,
        "setting": one.job.setting,
        "folder": f"{JOBS_FOLDER}/{one.job.key}",
        "outcome": dataclasses.asdict(one.outcome),
        "error": one.error,
        "values": one.values,
        "details": one.details,
    }


def _comparison_json(one: str, other: str, compared: Sequence[Comparison]) -> dict[str, Any]:
    metrics = {item.metric.name: {**dataclasses.asdict(item.interval), "verdict": item.verdict} for item in compared}
    return {"setting": one, "other": other, "metrics": metrics}
