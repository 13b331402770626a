"""Starts the jobs that texture objects of the scene."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import bpy

from ..console.textures import TextureOf, texture_and_wait
from ..jobs.job import Job
from ..jobs.placement import PENDING, Placement
from ..jobs.seeds import UnusedSeeds
from ..jobs.texture_files import SourceOf
from ..scene import target
from ..scene.source_mesh import Source, capture_for
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.diffusion.request_check import check_request
from ..sdi_engine.errors import BadInputError
from ..state import preferences
from ..state.current import session


def start(context: bpy.types.Context, asked: JobRequest, things: Sequence[bpy.types.Object]) -> list[str]:
    """Queue a texture for each object, or, in the background, make them; returns what the person should know.

    An object's texture that was queued before, by the same request, is made with the next seed.

    Raises:
        EngineError: prompt, noise or an object is refused, or a job's folder cannot be made.
        ImportFailedError: in the background, a texture cannot be put onto its object.
    """
    check_request(asked)
    sources = [_captured(context, thing, asked) for thing in things]
    if bpy.app.background:
        desk, engine = session().desks.desk(context), preferences.engine(context)
        textures = [TextureOf(context, thing, source, asked) for thing, source in zip(things, sources, strict=True)]
        return [notice for texture in textures for notice in texture_and_wait(texture, desk, engine)]
    where = [
        target.placement_on(thing, source.uv_name, context.scene.name)
        for thing, source in zip(things, sources, strict=True)
    ]
    requests = [_unused(asked, placement) for placement in where]
    session().start(context, requests, where, context.scene.sdi.live, sources)
    return list(dict.fromkeys(notice for source in sources for notice in source.notices))


def start_variations(context: bpy.types.Context, job: Job, requests: Sequence[JobRequest]) -> None:
    """Queue further textures of a job's mesh, for the same object.

    Raises:
        EngineError: the object is not in the file, the prompt is refused, or a job's folder cannot be made.
    """
    if bpy.app.background:
        raise BadInputError("Variations of a texture need a window: in a script, use Texture again with another seed.")
    where = Placement.read(job.folder)
    meant = where.target if where is not None and where.is_ours(job.folder) else None
    if where is None or meant is None or target.find(meant) is None:
        raise BadInputError(
            f"The object of “{job.request.prompt}” is not in this file: open its file, or use Reuse Settings, select "
            "another object and press Texture."
        )
    check_request(job.request)
    again = dataclasses.replace(where.with_fate(PENDING).owned(), blend_file=bpy.data.filepath)
    sources = [SourceOf(job.folder)] * len(requests)
    session().start(context, requests, [again] * len(requests), context.scene.sdi.live, sources)


def _captured(context: bpy.types.Context, thing: bpy.types.Object, request: JobRequest) -> Source:
    """The object's mesh, of which the faces that the scene's settings say get the new look."""
    settings = context.scene.sdi
    only = settings.texture_only
    if only == "GROUP" and not settings.texture_group:
        raise BadInputError("No vertex group is chosen: choose the one whose faces get the texture, or use All Faces.")
    return capture_for(request, context, thing, only == "SELECTED", settings.texture_group if only == "GROUP" else "")


def _unused(asked: JobRequest, where: Placement) -> JobRequest:
    return UnusedSeeds(lambda request: session().is_made(request, where.target)).give(asked)
