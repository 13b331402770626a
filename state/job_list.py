"""The jobs of the results folder in a collection property, as Blender's lists need them; it is not saved in files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bpy
from bpy.props import CollectionProperty, IntProperty, StringProperty

from ..jobs.library import Entry


class SDI_PG_job(bpy.types.PropertyGroup):
    """One job; `name` is its folder's name, and `session` knows the rest."""

    prompt: StringProperty(name="Prompt", description="The job's prompt")  # type: ignore[valid-type]


CLASSES = (SDI_PG_job,)


def attach() -> None:
    """Called when the extension is enabled."""
    manager = bpy.types.WindowManager
    manager.sdi_jobs = CollectionProperty(type=SDI_PG_job, options={"SKIP_SAVE"})
    manager.sdi_job_index = IntProperty(
        name="Job", description="The job that the buttons below are for", options={"SKIP_SAVE"}
    )


def detach() -> None:
    """Called when the extension is disabled."""
    del bpy.types.WindowManager.sdi_jobs
    del bpy.types.WindowManager.sdi_job_index


def fill(entries: Iterable[Entry]) -> None:
    """Show these jobs; the selected one stays selected."""
    manager = _manager()
    was_chosen = chosen()
    manager.sdi_jobs.clear()
    for index, entry in enumerate(entries):
        item = manager.sdi_jobs.add()
        item.name, item.prompt = entry.name, entry.title
        if entry.name == was_chosen:
            manager.sdi_job_index = index


def chosen() -> str:
    """The name of the selected job; empty if none is."""
    manager = _manager()
    index = manager.sdi_job_index
    return manager.sdi_jobs[index].name if 0 <= index < len(manager.sdi_jobs) else ""


def _manager() -> Any:
    return bpy.data.window_managers[0]
