"""What a run would take on this machine, and what of it is the model's: some steps at three places of the schedule.

The floor of a step is what no other code could leave out: the model's evaluations and the encoder with its gradient.
The object itself does not jump along with the schedule: what is rendered is the ball that every run begins with, after
the few steps of this measurement. A mesh that there is, is as it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ..config.settings import Settings
from ..contract.events import Event, Notice, Progress
from ..contract.job_folder import JobFolder
from ..diffusion.loading import LoadPrior, load_prior
from ..diffusion.prior import Prediction, Prior, Text
from ..representation import Rendering
from ..run import checkpoint
from ..run.attention import works_of
from ..run.checkpoint_writer import CheckpointWriter, seconds_apart
from ..run.fitting import fit
from ..run.forecast import Work
from ..run.optimisation import Optimisation
from ..run.previews import save_preview
from ..run.read_progress import read_progress
from ..run.representations import of_job
from ..run.resolve import resolve
from ..run.text_to_mesh import LOADING, PREVIEWS_PER_RUN, choose_device
from ..surface.moving_surface import Moved, MovingSurface
from ..surface.sight import Sight
from .bench_ledger import Ledger

PLACES = {"beginning": 0.0, "middle": 0.5, "end": 1.0}
"""Where in the schedule steps are measured, as progress."""

MODEL = "model"
IMAGES = "encoder, κ and target"
"""With the gradients down to the images."""

PENALTIES = "penalties"
IN_3D = (
    "occupancy",
    "moving vertices",
    "rays",
    "render",
    "surface points",
    "normals",
    "backward",
    PENALTIES,
    "optimiser",
)
"""Of a mesh, "moving vertices" is where they are; "rays" is what cameras see of it, with a tree of its triangles where
one is built."""

Report = Callable[[Event], None]


def bench(folder: JobFolder, measured: int, report: Report, load: LoadPrior | None = None) -> dict[str, Any]:
    """Measure a run that a job would be.

    Args:
        folder: of a job that nobody does; with its mesh, if it is about one.
        measured: steps to take at each place, of each kind.
        load: where the model comes from, `load_prior` by default.

    Returns:
        What `bench_table.table` shows, as JSON allows: `steps` with an entry for each place and kind of step, `run`
        with what a whole run would take, and what is measured once.
    """
    request = folder.request()
    device = choose_device(request.device)
    of_mesh: dict[str, float] = {}

    @contextmanager
    def phase(name: str, key: str) -> Iterator[None]:
        with _phase(name, report):
            began = time.perf_counter()
            yield
            of_mesh[key] = time.perf_counter() - began

    represent, told = of_job(folder, request, phase)
    for sentence in told:
        report(Notice(sentence))
    with _phase(LOADING, report), read_progress(LOADING, report):
        began = time.perf_counter()
        prior = (load or load_prior)(request.model, device, request.loras, request.parts, request.precision)
        seconds_load = time.perf_counter() - began
    settings = resolve(request, prior.hints, prior.resolution)
    fit(prior, request.model, settings, report, request.parts)
    prior.compile((lambda sentence: report(Notice(sentence))) if request.compiled else None)
    run = Optimisation(prior, request.prompt, request.negative_prompt, settings, request.seed, represent=represent)
    works = works_of(run)
    with _phase("The first step", report):
        began = time.perf_counter()
        run.advance()
        seconds_first = time.perf_counter() - began
    encoder = [_encoder_seconds(prior, settings) for _ in range(measured)]
    steps, first_of_place = [], {}
    for place, progress in PLACES.items():
        first_of_place[place] = _arrive(run, min(math.ceil(progress * len(works)), len(works) - 1))
        for shaded in sorted({work.effort > 1.0 for work in works}):
            numbers = _steps_near(works, progress, shaded, measured)
            name = f"{place}, shaded" if shaded else place
            for count, number in enumerate(numbers):
                report(Progress(f"Measuring: {name}", count, len(numbers)))
                steps.append(_measured_step(run, number, name, works[number], min(encoder)))
            report(Progress(f"Measuring: {name}", len(numbers), len(numbers)))
    names = dict.fromkeys(step["name"] for step in steps)
    steps = [_mean([step for step in steps if step["name"] == name]) for name in names]
    with _phase("Measuring previews and checkpoints", report):
        extras = _extras(run, folder)
    if request.is_of_a_mesh:  # of which a few steps change nothing that the export would take longer for
        run.representation.export(request, phase)
    plain = {step["name"]: step["seconds"] for step in steps}
    extras["once"] = sum(max(0.0, seconds - plain.get(place, seconds)) for place, seconds in first_of_place.items())
    extras["once"] += sum(of_mesh.values())
    return {
        "model": request.model,
        "preset": request.preset,
        "device": _words_for(device),
        "resolution": settings.resolution,
        "views_per_step": settings.views_per_step,
        "seconds_load": seconds_load,
        "seconds_first_step": seconds_first,
        "seconds_to_first_step": seconds_load + seconds_first,
        "steps": steps,
        "extras": extras,
        "of_mesh": of_mesh,
        "run": _whole_run(works, steps, extras, seconds_load),
    }


def _arrive(run: Optimisation, number: int) -> float:
    """Seconds of a step that is not measured: what happens once on the way to it, such as that a field becomes a mesh,
    is no part of the steps around it."""
    run.step = number
    return _seconds(run.device, run.advance)


def _steps_near(works: list[Work], progress: float, shaded: bool, count: int) -> list[int]:
    """The first steps of a kind from a place of the schedule on; at its end the last ones."""
    kind = [number for number, work in enumerate(works) if (work.effort > 1.0) == shaded]
    before = sum(number < progress * len(works) for number in kind)
    first = max(0, min(before, len(kind) - count))
    return kind[first : first + count]


def _measured_step(run: Optimisation, number: int, name: str, work: Work, encoder: float) -> dict[str, Any]:
    """One step of a run, as if it were the one of this number, and its floor right after it."""
    run.step = number
    ledger = Ledger(run.device)
    with _booked(run, ledger) as asked, ledger.open():
        run.advance()
    evaluations = sum(len(x) for x, _, _ in asked)
    model = _seconds(run.device, lambda: [run.prior.predict_unguided(*each) for each in asked])
    floor = model + encoder
    return {
        "name": name,
        "shaded": work.effort > 1.0,
        "seconds": ledger.total,
        "parts": ledger.seconds,
        "peak_mb": ledger.peak_mb,
        "evaluations": evaluations,
        "evaluations_expected": work.evaluations,
        "floor": floor,
        "floor_model": model,
        "floor_encoder": encoder,
        "ratio": ledger.total / floor,
    }


@contextmanager
def _booked(run: Optimisation, ledger: Ledger) -> Iterator[list[tuple[Tensor, Tensor, Text]]]:
    """Have a run's calls booked in a ledger; yields what the model is asked."""
    asked: list[tuple[Tensor, Tensor, Text]] = []
    representation, prior = run.representation, run.prior
    evaluate, render = prior.predict_unguided, representation.render

    def predict_unguided(x: Tensor, t: Tensor, text: Text) -> Prediction:
        asked.append((x.detach(), t, text))
        with ledger.part(MODEL):
            return evaluate(x, t, text)

    def rendered(*arguments: Any) -> Rendering:
        with ledger.part("render"):
            rendering: Rendering = render(*arguments)
        carry_on = rendering.backward

        def backward() -> None:
            with ledger.part("backward"):
                carry_on()
            ledger.rest_is(PENALTIES)

        named: Any = rendering
        named.surface, named.backward = ledger.booked("surface points", rendering.surface), backward
        ledger.rest_is(IMAGES)
        return rendering

    changed: list[tuple[Any, str, Any]] = [
        (prior, "predict_unguided", predict_unguided),
        (representation, "prepare", ledger.booked("occupancy", representation.prepare)),
        (Sight, "hits", ledger.booked("rays", Sight.hits)),
        (Moved, "__init__", ledger.booked("moving vertices", Moved.__init__)),
        (MovingSurface, "normals_now", ledger.booked("normals", MovingSurface.normals_now)),
        (representation, "render", rendered),
        (run.optimizer, "step", ledger.booked("optimiser", run.optimizer.step)),
    ]
    field = getattr(representation, "field", None)
    if hasattr(field, "normal"):
        changed.append((field, "normal", ledger.booked("normals", field.normal)))
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in changed]
    for owner, name, function in changed:
        setattr(owner, name, function)
    try:
        yield asked
    finally:
        for owner, name, own in before:
            delattr(owner, name)
            if own is not None:
                setattr(owner, name, own)


def _mean(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several steps of one place and kind: means of seconds and evaluations, the highest of peaks."""
    first = steps[0]
    counted = [key for key, value in first.items() if type(value) in (int, float)]
    numbers = {key: fmean(step[key] for step in steps) for key in counted}
    names = dict.fromkeys(name for step in steps for name in step["parts"])
    parts = {name: fmean(step["parts"].get(name, 0.0) for step in steps) for name in names}
    peaks = {name: max(step["peak_mb"].get(name, 0.0) for step in steps) for name in first["peak_mb"]}
    return first | numbers | {"parts": parts, "peak_mb": peaks, "ratio": numbers["seconds"] / numbers["floor"]}


def _encoder_seconds(prior: Prior, settings: Settings) -> float:
    """Of encoding a step's images, with the gradient."""
    assert settings.resolution is not None
    images = torch.rand(settings.views_per_step, 3, settings.resolution, settings.resolution, device=prior.device)
    return _seconds(prior.device, lambda: prior.encode(images.requires_grad_()).sum().backward())


def _extras(run: Optimisation, folder: JobFolder) -> dict[str, float]:
    """Seconds of what is done between some steps, each once."""
    preview = _seconds(run.device, lambda: save_preview(run, folder))
    saved = _seconds(run.device, lambda: checkpoint.save(run, folder.checkpoint_file))
    size = folder.checkpoint_file.stat().st_size
    copied, slower = _held_up(run, folder)
    return {
        "preview": preview,
        "checkpoint": saved,
        "checkpoint_mb": size / 2**20,
        "checkpoint_copy": copied,
        "checkpoint_slows": slower,
    }


def _held_up(run: Optimisation, folder: JobFolder) -> tuple[float, float]:
    """By how many seconds a checkpoint holds the loop up: while it is copied, and by steps that take longer while it is
    written beside them."""
    last = run.step - 1

    def again() -> float:
        run.step = last
        return _seconds(run.device, run.advance)

    alone = again()
    beside: list[float] = []
    with CheckpointWriter(folder.checkpoint_file) as writer:
        copied = _seconds(run.device, lambda: writer.begin(run))
        while writer.is_writing or not beside:
            beside.append(again())
    return copied, max(0.0, sum(beside) - len(beside) * alone)


def _whole_run(
    works: list[Work], steps: list[dict[str, Any]], extras: dict[str, float], seconds_load: float
) -> dict[str, float]:
    """What all steps would take: their evaluations as they are counted, the rest as it is at the measured places."""
    evaluation = sum(step["parts"][MODEL] for step in steps) / sum(step["evaluations"] for step in steps)
    floor_evaluation = sum(step["floor_model"] for step in steps) / sum(step["evaluations"] for step in steps)
    rest_of_kind: dict[bool, list[float]] = {}
    for step in steps:
        rest_of_kind.setdefault(step["shaded"], []).append(step["seconds"] - step["parts"][MODEL])
    rest = {shaded: fmean(seconds) for shaded, seconds in rest_of_kind.items()}
    evaluations = math.fsum(work.evaluations for work in works)
    in_steps = evaluations * evaluation + math.fsum(rest[work.effort > 1.0] for work in works)
    apart = seconds_apart(round(extras["checkpoint_mb"] * 2**20), extras["checkpoint"])
    checkpoints = min(in_steps / apart, float(len(works)))
    held_up = checkpoints * (extras["checkpoint_copy"] + extras["checkpoint_slows"]) + extras["checkpoint"]  # the last
    between = PREVIEWS_PER_RUN * extras["preview"] + held_up + extras["once"]
    floor = evaluations * floor_evaluation + len(works) * fmean([step["floor_encoder"] for step in steps])
    return {
        "steps": len(works),
        "evaluations": evaluations,
        "seconds_load": seconds_load,
        "seconds_steps": in_steps,
        "seconds_between": between,
        "seconds": seconds_load + in_steps + between,
        "floor": floor,
        "ratio": (in_steps + between) / floor,
    }


@contextmanager
def _phase(name: str, report: Report) -> Iterator[None]:
    report(Progress(name, 0, 1))
    yield


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    ledger = Ledger(device)
    with ledger.open():
        work()
    return ledger.total


def _words_for(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
