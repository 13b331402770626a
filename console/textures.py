"""Textures and shapes for objects of the scene, without a window: for `blender --command sdi texture`, and scripts."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from ..jobs.engine import Engine
from ..jobs.job import Job
from ..jobs.placement import IMPORTED, Placement
from ..jobs.runner import Runner
from ..scene import target, texture_result
from ..scene.source_mesh import Source
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.system.files import read_bytes, write_atomically
from .generate import raise_if_failed, submit, wait_with_progress
from .several import Wanted


class TextureOf(Wanted):
    """A texture, perhaps with a shape, for an object as it was when the command began."""

    def __init__(
        self, context: bpy.types.Context, thing: bpy.types.Object, source: Source, request: JobRequest
    ) -> None:
        self.prompt, self.title = request.prompt, thing.name
        self._context, self._thing, self._request = context, thing, request
        self._uv_name, self._notices = source.uv_name, source.notices
        self._content = source.to_bytes()

    def request(self) -> JobRequest:
        return self._request

    def where(self) -> Placement:
        return target.placement_on(self._thing, self._uv_name, self._context.scene.name)

    def prepare(self, job: Job) -> None:
        write_atomically(job.folder.source_file, self._content)

    def is_made_by(self, job: Job) -> bool:
        """Whether the job is for an object of this name with exactly this mesh and look."""
        where = Placement.read(job.folder)
        if where is None or where.target is None or where.target.name != self._thing.name:
            return False
        try:
            return read_bytes(job.folder.source_file, len(self._content)) == self._content
        except OSError:
            return False

    def receive(self, job: Job, where: Placement) -> tuple[bpy.types.Object, Sequence[str]]:
        raise_if_failed(job)
        applied = texture_result.apply(self._context, self._thing, job.folder)
        with storage_errors(job.folder.path):
            where.with_fate(IMPORTED).write(job.folder)
        return applied.thing, (*self._notices, *applied.notices)


def texture_and_wait(texture: TextureOf, runner: Runner, engine: Engine) -> Sequence[str]:
    """Make one texture, after all queued jobs, and put it onto its object; returns what the person should know.

    Raises:
        JobFailedError: the job failed, or was cancelled by Ctrl+C.
        EngineError: the job could not be created.
        ImportFailedError: the texture cannot be put onto the object.
    """
    runner.use(engine)
    where = texture.where()
    job = submit(texture.request(), runner, where, texture.prepare)
    wait_with_progress(job, runner, engine)
    return texture.receive(job, where)[1]
