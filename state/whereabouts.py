"""Tells the panel where a finished object or texture is: it may be hidden, in another scene or file, or deleted."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..jobs import words
from ..jobs.job import Job
from ..jobs.placement import IMPORTED
from ..scene import looks, origin
from .arrivals import Arrivals


class Whereabouts:
    """The whereabouts of results, as sentences."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._found: dict[str, str] = {}
        """The name of the object found last, by the job's name."""

    def of(self, context: bpy.types.Context, job: Job) -> tuple[str, bool]:
        """Where a finished result is, as one sentence, and whether the person can see it there."""
        if job.request.is_of_a_mesh:
            return self._of_texture(job)
        if self._arrivals.wants(job.name):
            return f"The object is ready{self._made_for(job.name)}.", False
        found = self._find(context, job)
        if found is None:
            where = self._arrivals.placement_of(job.name)
            if where is None or where.fate != IMPORTED:
                return "The object is ready; it was not put into this file.", False
            if self._arrivals.belongs_here(job.name):
                return "Done, but the object is no longer in this file: it was deleted, or undone.", False
            return f"Done{self._made_for(job.name)}.", False
        if _is_seen(context, found):
            return "Done: it is in the scene.", True
        if found.name in context.view_layer.objects:
            if getattr(context.space_data, "local_view", None) is not None:
                return "Done: it is in the scene, but hidden, or not in this local view: leave that to see it.", False
            return "Done: it is in the scene, but hidden: show it in the Outliner.", False
        if found.name in context.scene.objects:
            homes = " or ".join(f"“{collection.name}”" for collection in found.users_collection)
            return f"Done: it is in the scene, but {homes} is excluded from this view layer, see the Outliner.", False
        others = [scene.name for scene in bpy.data.scenes if found.name in scene.objects]
        if others:
            return f"Done: it is in the scene “{others[0]}”, which is not the one shown.", False
        return "Done, but the object is in no scene any more.", False

    def _of_texture(self, job: Job) -> tuple[str, bool]:
        what = words.result_of(job.request.task)
        if self._arrivals.wants(job.name):
            return f"The {what} is ready{self._made_for(job.name)}.", False
        known = bpy.data.objects.get(self._found.get(job.name, ""))
        found = known if _has_texture(known, job) else next((x for x in bpy.data.objects if _has_texture(x, job)), None)
        if found is not None:
            self._found[job.name] = found.name
            if looks.shown(found) == looks.index_of(found, job.folder.path):
                return f"Done: it is on “{found.name}”.", True
            return f"Done: “{found.name}” has it, and shows another look.", False
        where = self._arrivals.placement_of(job.name)
        if where is None or where.fate != IMPORTED:
            return f"The {what} is ready; it is on no object of this file.", False
        if self._arrivals.belongs_here(job.name):
            return "Done, but no object of this file has it any more: it was deleted, or undone.", False
        return f"Done{self._made_for(job.name)}.", False

    def _made_for(self, name: str) -> str:
        """The other file that the result belongs to, as part of a sentence; empty if that is the open one."""
        if self._arrivals.belongs_here(name):
            return ""
        where = self._arrivals.placement_of(name)
        file = where.blend_file if where is not None else ""
        if not file:
            return ": it was made for another file, which had not been saved"
        return f": it was made for “{Path(file).name}” in {Path(file).parent}"

    def _find(self, context: bpy.types.Context, job: Job) -> bpy.types.Object | None:
        """The job's object in the open file; of several copies a visible one, if there is one."""
        known = bpy.data.objects.get(self._found.get(job.name, ""))
        if known is not None and origin.is_of(known, job.folder) and _is_seen(context, known):
            return known  # so that a large scene need not be searched each time the panel is drawn
        every = [each for each in bpy.data.objects if origin.is_of(each, job.folder)]
        found = next((each for each in every if _is_seen(context, each)), every[0] if every else None)
        if found is not None:
            self._found[job.name] = found.name
        return found


def _has_texture(thing: bpy.types.Object | None, job: Job) -> bool:
    return looks.index_of(thing, job.folder.path) >= 0 if thing is not None else False


def _is_seen(context: bpy.types.Context, placed: bpy.types.Object) -> bool:
    return context.view_layer.objects.get(placed.name) == placed and placed.visible_get(view_layer=context.view_layer)
