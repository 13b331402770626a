"""Objects that are made from prompts, and placed side by side along X from the 3D cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bpy

from ..jobs.job import Job
from ..jobs.placement import Placement
from ..jobs.seeds import UnusedSeeds
from ..scene.destination import cursor_of
from ..scene.free_space import step_aside
from ..scene.importer import bounds
from ..sdi_engine.contract.request import JobRequest
from .generate import fetch
from .several import Wanted


@dataclass
class Row:
    """Where the objects stand.

    Attributes:
        context: the objects come into its scene.
        request_of: returns the request of a prompt; may raise EngineError.
        spacing: gap between two objects, in the scene's units.
    """

    context: bpy.types.Context
    request_of: Callable[[str], JobRequest]
    spacing: float

    def __post_init__(self) -> None:
        self.seeds = UnusedSeeds()
        self.corner = cursor_of(self.context.scene)


class ObjectFromPrompt(Wanted):
    """An object that stands beside those before it; those with the same prompt get different seeds."""

    def __init__(self, prompt: str, row: Row) -> None:
        self.prompt = self.title = prompt
        self._row = row

    def request(self) -> JobRequest:
        return self._row.seeds.give(self._row.request_of(self.prompt).validated())

    def where(self) -> Placement:
        scene = self._row.context.scene.name
        return Placement.at(self._row.corner, scene=scene, blend_file=bpy.data.filepath)

    def prepare(self, job: Job) -> None:
        """There is nothing but the request."""

    def is_made_by(self, job: Job) -> bool:
        return True

    def receive(self, job: Job, where: Placement) -> tuple[bpy.types.Object, Sequence[str]]:
        placed = fetch(self._row.context, job, where)
        low, high = bounds(placed)
        placed.location.x = self._row.corner.x - low.x
        step_aside(self._row.context, placed)  # away from objects of the opened file
        self._row.corner.x = placed.location.x + high.x + self._row.spacing
        return placed, ()
