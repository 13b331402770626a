"""The jobs of the results folder as Blender's lists want them: in a collection, which is saved in no file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bpy
from bpy.props import CollectionProperty, IntProperty, StringProperty

from ..jobs.library import Entry


class SDI_PG_job(bpy.types.PropertyGroup):
    """One job; `name` is its folder's, and all else is asked of `session`."""

    prompt: StringProperty(name="Prompt", description="What was asked for")  # type: ignore[valid-type]


CLASSES = (SDI_PG_job,)


def attach() -> None:
    manager = bpy.types.WindowManager
    manager.sdi_jobs = CollectionProperty(type=SDI_PG_job, options={"SKIP_SAVE"})
    manager.sdi_job_index = IntProperty(
        name="Job", description="The job that the buttons below are for", options={"SKIP_SAVE"}
    )


def detach() -> None:
    del bpy.types.WindowManager.sdi_jobs
    del bpy.types.WindowManager.sdi_job_index


def fill(entries: Iterable[Entry]) -> None:
    """Show these jobs; the chosen one stays chosen."""
    manager = _manager()
    was_chosen = chosen()
    manager.sdi_jobs.clear()
    for index, entry in enumerate(entries):
        item = manager.sdi_jobs.add()
        item.name, item.prompt = entry.name, entry.title
        if entry.name == was_chosen:
            manager.sdi_job_index = index


def choose(name: str) -> None:
    """Choose the job of this name."""
    manager = _manager()
    manager.sdi_job_index = manager.sdi_jobs.find(name)


def chosen() -> str:
    """The name of the chosen job; empty where none is."""
    manager = _manager()
    index = manager.sdi_job_index
    return manager.sdi_jobs[index].name if 0 <= index < len(manager.sdi_jobs) else ""


def _manager() -> Any:
    return bpy.data.window_managers[0]
