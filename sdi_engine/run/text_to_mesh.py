"""From a request to a mesh file: load the model, optimise, export, save; whatever the 3D is made of."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from .. import __version__
from ..config.asked import settings_asked_for
from ..config.settings import Settings
from ..contract import events, source_mesh, vocabulary
from ..contract.job_folder import JobFolder, storage_errors
from ..contract.request import JobRequest
from ..diffusion.counted_prior import CountedPrior
from ..diffusion.distilled import DRAWN_NOISES
from ..diffusion.loading import LoadPrior, load_prior
from ..diffusion.prior import Prior
from ..errors import BadInputError, EnvironmentMissingError, NoObjectError, StorageError, is_out_of_memory
from ..mesh.export import standing_on_ground, write_glb
from ..representation import TexturedMesh
from ..system.files import InUseError, is_file, is_there, write_atomically
from ..system.memory import give_memory_back
from ..system.occasions import occasion
from . import checkpoint
from .attention import Attention, InterruptedStepError
from .checkpoint_writer import CheckpointWriter
from .fitting import fit
from .kept_texts import keep, recall
from .listening import listening
from .optimisation import Optimisation
from .previews import save_live_mesh, save_preview
from .read_progress import read_progress
from .representations import Represent, of_job
from .resolve import resolve
from .speed import remember

LOADING = "Loading the model"
LOADING_ENCODERS = "Loading the text encoders"
"""Phases in which a model's files are read."""

PREVIEWS_PER_RUN = 12
LIVE_SECONDS = 3.0
LIVE_SHARE = 0.05
"""Live meshes are at least so many seconds apart, and take no more than this share of the time."""

RESIDUAL_POINTS = 24
"""Of the curve of residuals that a result keeps."""

NOT_KEPT = (
    "This state could not be kept, since another program has the checkpoint open: to resume the job is to go on from "
    "an earlier one."
)

Report = Callable[[events.Event], None]

log = logging.getLogger(__name__)


def make(
    folder: JobFolder,
    request: JobRequest,
    resume: bool,
    report: Report,
    load: LoadPrior | None = None,
    represent: Represent | None = None,
) -> None:
    """Do the whole job; ends with `mesh.glb` and `result.json` in the folder, and a texture job with `texture.png` too.

    Args:
        load: where the model comes from, `load_prior` by default.
        represent: makes the 3D; by default what the job is about.

    Raises:
        EngineError: of the kinds in `sdi_engine.errors`.
    """
    seconds: dict[str, float] = {}

    @contextmanager
    def phase(name: str, key: str) -> Iterator[None]:
        """One in which cancel and pause are heard."""
        with listening(folder.stop_if_told):
            report(events.Progress(name, 0, 1))
            start = time.perf_counter()
            yield
            seconds[key] = time.perf_counter() - start
            log.info("%s: %.1f s", name, seconds[key])

    device = choose_device(request.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # an engine does many jobs
    report(events.StateChanged(events.RUNNING))
    settings_asked_for(request)  # what cannot be is refused before minutes of loading
    told: tuple[str, ...] = ()
    if represent is None:
        represent, told = of_job(folder, request, phase)
    with phase(LOADING, "load"), read_progress(LOADING, report) as read:
        prior = CountedPrior(
            (load or load_prior)(request.model, device, request.loras, request.parts, request.precision)
        )
    if read.seconds_downloading:
        seconds["download"] = read.seconds_downloading
        seconds["load"] -= read.seconds_downloading
    saved = folder.checkpoint_file
    resumed = resume and is_file(saved)
    if resumed:
        checkpoint.check_model(prior.weights, saved)
    for sentence in told:
        report(events.Notice(sentence))
    tell_how_it_reads(prior, request.prompt, request.negative_prompt, report)
    settings = resolve(request, prior.hints, prior.resolution)
    check_distilled(prior, settings, resumed, report)
    fitting = fit(prior, request.model, settings, report, request.parts)
    prior.compile((lambda sentence: report(events.Notice(sentence))) if request.compiled else None)

    def attempt(number: int) -> Optimisation:
        with listening(folder.stop_if_told):
            return Optimisation(
                prior, request.prompt, request.negative_prompt, settings, request.seed, number, represent=represent
            )

    def as_saved(number: int) -> Optimisation:
        """An attempt at its last checkpoint, or at its beginning."""
        run = attempt(number)
        if is_file(saved) and checkpoint.attempt_of(saved) == number:
            checkpoint.load(run, saved)
        return run

    run = attempt(checkpoint.attempt_of(saved) if resumed else 0)
    if resumed and not checkpoint.fits(run, saved):  # begun when a preset was the same for all models
        settings = resolve(request, prior.hints, prior.resolution, by_model=False)
        run = attempt(run.attempt)
    reading = "Reading the prompt"
    with phase(reading, "read"), read_progress(LOADING_ENCODERS, report):
        recall(prior, folder, request.prompt, request.negative_prompt)
        run.guidance.read_all(
            request.prompt, request.negative_prompt, lambda share: report(events.Progress(reading, 0, 1, within=share))
        )
        keep(prior, folder, request.prompt, request.negative_prompt)
        prior.free_text_encoders()
    if resumed:
        checkpoint.load(run, saved)
        log.info("Resumed at step %d.", run.step)

    while True:
        try:
            start, first_step, ran_out = time.perf_counter(), run.step, ""
            try:
                with CheckpointWriter(saved) as checkpoints:
                    seconds |= _optimise(run, folder, request.height, report, checkpoints)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = fitting.take_another(error)
            if ran_out:
                number = run.attempt
                del run  # whose memory the next one needs
                give_memory_back()
                run = as_saved(number)
                report(events.Notice(f"{ran_out}. Going on from step {run.step} of {settings.steps}."))
                continue
            seconds["optimise"] = time.perf_counter() - start
            report(events.StateChanged(events.EXPORTING))
            exported = run.representation.export(request, phase)
            break
        except NoObjectError as error:
            if run.attempt == checkpoint.MAX_RESTARTS or is_there(folder.finish_flag):
                raise
            report(events.Notice(f"{error} Starting over ({run.attempt + 2} of {checkpoint.MAX_RESTARTS + 1})."))
            report(events.StateChanged(events.RUNNING))
            run = attempt(run.attempt + 1)
            with storage_errors(folder.path):
                checkpoint.save(run, saved)
    for sentence in exported.notices:
        report(events.Notice(sentence))
    with phase("Saving", "save"), storage_errors(folder.path):
        for level, one in enumerate((exported, *exported.lods)):
            occasion()
            mesh = one.mesh
            if not exported.is_placed:
                standing = standing_on_ground(mesh.vertices, request.height, like=exported.mesh.vertices)
                mesh = dataclasses.replace(mesh, vertices=standing)
            file = folder.lod_file(level) if level else folder.mesh_file
            picture = write_glb(file, mesh, one.albedo, request.prompt[:60], one.normals)
            if request.is_of_a_mesh and not level:
                save_texture(folder, exported, picture)
    result = {
        "task": request.task,
        "mesh": folder.mesh_file.name,
        "notices": [*told, *exported.notices],
        "prompt": request.prompt,
        "seed": request.seed,
        "model": request.model,
        "loras": [dataclasses.asdict(lora) for lora in request.loras],
        "parts": dataclasses.asdict(request.parts),
        "precision": prior.packed,
        "faces": len(exported.mesh.faces),
        "vertices": exported.points,
        "lods": [
            {"mesh": folder.lod_file(level).name, "faces": len(one.mesh.faces)}
            for level, one in enumerate(exported.lods, start=1)
        ],
        "texture_size": request.texture_size,
        "height": float(np.ptp(exported.mesh.vertices[:, 2])) if exported.is_placed else request.height,
        "steps": run.step,
        "attempts": run.attempt + 1,
        "model_evaluations": prior.evaluations,
        "residuals": residual_curve(run.residuals),
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "peak_memory_mb": peak_memory_mb(device),
        "device": device.type,
        "settings": dataclasses.asdict(settings),
        "versions": _versions(),
    }
    with storage_errors(folder.path):
        write_atomically(folder.result_file, json.dumps(result, indent=2) + "\n")
    remember(request, prior.resolution, seconds, range(first_step, run.step))


def save_texture(folder: JobFolder, exported: TexturedMesh, picture: bytes) -> None:
    """Write what became of a mesh that was there before, with its new look as a PNG; raises OSError.

    `texture.png`; of a new UV map, `uv.npz`; of a shape that was refined, `moved.npz`.
    """
    write_atomically(folder.texture_file, picture)
    if exported.new_uv is not None:
        _save_array(folder.uv_file, source_mesh.UV, exported.new_uv)
    if exported.moved is not None:
        _save_array(folder.moved_file, source_mesh.VERTICES, exported.moved)


def _save_array(file: Path, name: str, array: NDArray[np.generic]) -> None:
    content = io.BytesIO()
    np.savez(content, **{name: np.ascontiguousarray(array, source_mesh.DTYPES[name])})
    write_atomically(file, content.getvalue())


def choose_device(name: str) -> torch.device:
    """The torch device for a request's choice; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        EnvironmentMissingError: the device is not there.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available[name]:
        raise EnvironmentMissingError(
            f'The device "{name}" is not available to torch {torch.__version__}: choose "auto" or "cpu", or install a '
            "build of torch that supports it."
        )
    return torch.device(name)


def residual_curve(residuals: Sequence[tuple[float, float]], points: int = RESIDUAL_POINTS) -> list[list[float]]:
    """Pairs (t, residual of eq. (8)) of all steps as `points` of them at most, each the mean over as many steps."""
    count = min(points, len(residuals))
    ends = [index * len(residuals) // max(1, count) for index in range(count + 1)]
    return [
        [float(f"{fmean(values):.6g}") for values in zip(*residuals[start:end], strict=True)]
        for start, end in pairwise(ends)
    ]


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Largest memory so far in MiB: of this process, and on a CUDA device what torch kept for itself in this job."""
    peak: dict[str, float] = {}
    if sys.platform != "win32":
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        peak["process"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    if device.type == "cuda":
        peak["cuda"] = round(torch.cuda.max_memory_reserved(device) / 2**20, 1)
    return peak


def _optimise(
    run: Optimisation, folder: JobFolder, height: float, report: Report, checkpoints: CheckpointWriter
) -> dict[str, float]:
    """Run the loop to its end, or to where the person stops it; returns the seconds that the two models took, and of
    those of the 2D model its evaluations."""
    preview_every = max(1, run.settings.steps // PREVIEWS_PER_RUN)
    next_live_mesh = time.perf_counter() + LIVE_SECONDS
    seconds_2d = seconds_3d = seconds_model = 0.0
    run.safepoint = attention = Attention(run, folder, report)

    while not run.done:
        if folder.is_told_to_end:
            with storage_errors(folder.path):
                checkpoints.save(run)  # also for a mesh: the export may be cancelled, and resumed from here
            if checkpoints.was_left_out:
                report(events.Notice(NOT_KEPT))
        folder.stop_if_told()
        if is_there(folder.finish_flag):
            with _left_out_where_in_use():
                report(save_preview(run, folder))
            break
        attention.step_begins()
        try:
            done = run.advance()
        except InterruptedStepError:
            continue
        attention.step_over(done)
        seconds_2d += done.seconds_2d
        seconds_3d += done.seconds_3d
        seconds_model += done.seconds_model

        now = time.perf_counter()
        if done.step % preview_every == 0:
            with _left_out_where_in_use():
                report(save_preview(run, folder))
        if now >= next_live_mesh and is_there(folder.live_flag):
            with suppress(NoObjectError), _left_out_where_in_use():  # there will be something to see later
                report(save_live_mesh(run, folder, height))
            done_at = time.perf_counter()
            next_live_mesh = done_at + max(LIVE_SECONDS, (done_at - now) / LIVE_SHARE)
        with storage_errors(folder.path):
            checkpoints.save(run) if run.done else checkpoints.save_if_due(run)
    return {"optimise_2d": seconds_2d, "optimise_3d": seconds_3d, "optimise_model": seconds_model}


@contextmanager
def _left_out_where_in_use() -> Iterator[None]:
    """What is only looked at is left out while Windows keeps the last one, which another program has open."""
    try:
        yield
    except StorageError as error:
        if not isinstance(error.__cause__, InUseError):
            raise
        log.warning("%s", error)


def tell_how_it_reads(prior: Prior, prompt: str, negative_prompt: str, report: Report) -> None:
    """Say what of both prompts a model does not read as it is written, and what of its files is not used.

    Raises:
        BadInputError: it does not know any word of the prompt, or the prompt cannot be read.
    """
    knows = prior.hints.knows
    vocabulary.check(prompt, knows)
    remarks = [*prior.notices, vocabulary.warning(prompt, knows), *prior.remarks(prompt)]
    if negative_prompt:
        about_negative = [vocabulary.about_unknown_words(negative_prompt, knows), *prior.remarks(negative_prompt)]
        remarks += [f"Of the negative prompt: {remark}" for remark in about_negative if remark]
    for remark in filter(None, remarks):
        report(events.Notice(remark))


def check_distilled(prior: Prior, settings: Settings, resumed: bool, report: Report) -> None:
    """Say of a model that was distilled to a few steps what an object with it is.

    Raises:
        BadInputError: the settings look for κ by asking the model, in a run that nobody has begun before.
    """
    if prior.distilled is None:
        return
    assert settings.guidance_scale is not None
    is_drawn = settings.noise in DRAWN_NOISES
    if not is_drawn and not resumed:
        raise BadInputError(prior.distilled.refusal)
    report(events.Notice(prior.distilled.remark(settings.guidance_scale) if is_drawn else prior.distilled.refusal))


def _versions() -> dict[str, str]:
    packages = ("torch", "diffusers", "transformers", "nerfacc", "trimesh")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"sdi_engine": __version__, "python": sys.version.split()[0], **versions}
