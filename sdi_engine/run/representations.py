"""Which 3D a run has: the one place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..config.settings import Settings
from ..contract.job_folder import JobFolder
from ..contract.request import JobRequest
from ..radiance.volume import RadianceVolume
from ..representation import Phase, Representation, Step
from ..surface.field_then_mesh import FieldThenMesh
from ..surface.look import Look
from ..surface.moving_mesh import MovingMesh
from ..surface.painted_mesh import PaintedMesh, TextureTask
from ..surface.source import read_source
from ..surface.uv_map import uv_map_for

Represent = Callable[[Settings, Step, int, torch.device], Representation]
"""Settings, the start of the run (`representation.START`), how many attempts came to nothing before, and the device →
the 3D as it is before the first step, on that device."""


def represent(settings: Settings, start: Step, attempt: int, device: torch.device) -> Representation:
    """A new object as the settings ask for it; a `Represent`."""
    kind = FieldThenMesh if settings.mesh_start < 1.0 else RadianceVolume
    return kind(settings, start, attempt, device)


def of_job(folder: JobFolder, request: JobRequest, phase: Phase) -> tuple[Represent, tuple[str, ...]]:
    """The 3D that a job is about, and what a person should know of it, a sentence each.

    Raises:
        BadInputError: the job's mesh is missing, damaged, or cannot be painted.
    """
    if not request.is_of_a_mesh:
        return represent, ()
    with phase("Reading the mesh", "read"):
        source = read_source(folder.source_file)
        uv_map = uv_map_for(source, source.place(request.front), request.texture_size)
    task = TextureTask(source, uv_map, request.front, changes_look=request.strength < 1.0)
    notices = uv_map.notices
    if task.changes_look and not Look(source, torch.device("cpu")).is_known:
        notices += (
            "The look of the mesh is not known, so grey stands for it: with a strength of 1 it does not matter.",
        )

    def painted(settings: Settings, start: Step, attempt: int, device: torch.device) -> Representation:
        if request.task == "refine":
            return MovingMesh(task, request.max_move, settings, start, device)
        return PaintedMesh(task, settings, start, device)

    return painted, notices
