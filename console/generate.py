"""Makes one object without a window: runs the job, shows its progress in the terminal, imports the result.

In the background Blender's timers do not fire, so this polls in a loop, as `session` does with its timer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy

from ..jobs.engine import Engine
from ..jobs.job import Job
from ..jobs.placement import IMPORTED, Placement
from ..jobs.runner import Runner
from ..jobs.terminal import ProgressDisplay
from ..jobs.wait import wait_for
from ..scene.free_space import step_aside
from ..scene.importer import put_into_scene
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import EXIT_CANCELLED, EngineError


class JobFailedError(EngineError):
    """A job failed or was cancelled; has its sentence, its exit code and its folder."""

    def __init__(self, sentence: str, exit_code: int, folder: Path) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        self.folder = folder


def generate_and_wait(
    context: bpy.types.Context, request: JobRequest, runner: Runner, engine: Engine, where: Placement
) -> tuple[bpy.types.Object, Job]:
    """Make one object, after all queued ones, and import it; returns the object and its job.

    Raises:
        JobFailedError: the job failed, or was cancelled by Ctrl+C.
        EngineError: the job could not be created.
        ImportFailedError: the mesh cannot be imported.
    """
    runner.use(engine)
    job = submit(request, runner, where)
    wait_with_progress(job, runner, engine)
    return fetch(context, job, where), job


def wait_with_progress(job: Job, runner: Runner, engine: Engine) -> None:
    """Wait until a queued job is over, and show its progress in the terminal; raises StorageError."""
    display = ProgressDisplay()
    try:
        wait_for(runner, job, lambda: engine, display)
    finally:
        display.close()


def submit(
    request: JobRequest, runner: Runner, where: Placement, prepare: Callable[[Job], None] = lambda job: None
) -> Job:
    """Create and queue a job; raises EngineError if it cannot be created.

    Args:
        request: what to make.
        runner: does the job.
        where: the result's placement.
        prepare: writes what the job needs besides; may raise OSError.
    """
    job = runner.create(request)
    with job.folder.completed():
        prepare(job)
        where.write(job.folder)
    runner.submit(job)
    return job


def fetch(context: bpy.types.Context, job: Job, where: Placement) -> bpy.types.Object:
    """Import the object of a job that is over.

    Raises:
        JobFailedError: the job failed, or was cancelled or paused.
        ImportFailedError: the mesh cannot be imported.
    """
    raise_if_failed(job)
    placed = put_into_scene(context, job.folder, where)
    step_aside(context, placed)
    with storage_errors(job.folder.path):
        where.with_fate(IMPORTED).write(job.folder)
    return placed


def raise_if_failed(job: Job) -> None:
    """Raise JobFailedError if a job that is over has failed, or was cancelled or paused."""
    if job.state in (events.CANCELLED, events.PAUSED):
        sentence = f"The job was {job.state}; its progress is kept."
        raise JobFailedError(sentence, EXIT_CANCELLED, job.folder.path)
    if job.failure is not None:
        raise JobFailedError(job.failure.message, job.failure.exit_code, job.folder.path)
