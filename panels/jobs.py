"""Queue and history: every job of the results folder, with buttons for the selected one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import bpy

from ..jobs import words
from ..sdi_engine.contract import events
from ..state import job_list
from ..state.current import session
from .tab import Tab
from .text import wrapped_label

if TYPE_CHECKING:
    from ..jobs.library import Entry

ROWS = 4
STATE_ICONS = {
    events.QUEUED: "TIME",
    events.STARTING: "PLAY",
    events.RUNNING: "PLAY",
    events.EXPORTING: "PLAY",
    events.DONE: "CHECKMARK",
    events.CANCELLED: "CANCEL",
    events.FAILED: "ERROR",
    events.PAUSED: "PAUSE",
}
_RESUMABLE = (events.CANCELLED, events.FAILED, events.PAUSED)


class SDI_UL_jobs(bpy.types.UIList):
    """Jobs, the newest first"""

    bl_idname = "SDI_UL_jobs"

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: bpy.types.WindowManager,
        item: job_list.SDI_PG_job,
        icon: int,
        active_data: bpy.types.WindowManager,
        active_property: str,
    ) -> None:
        state = session().state_of(item.name)
        row = layout.row(align=True)
        thumbnail = session().display.pictures.thumbnail(item.name)
        entry = session().desks.entry(item.name)
        task = entry.request.task if entry is not None and entry.request is not None else "object"
        icon_of_job = {"icon_value": thumbnail} if thumbnail else {"icon": words.icon_of(task)}
        row.label(text=item.prompt, translate=False, **icon_of_job)
        row.label(text="", icon=STATE_ICONS.get(state, "QUESTION"))

    def filter_items(
        self, context: bpy.types.Context, data: bpy.types.WindowManager, property: str
    ) -> tuple[list[int], list[int]]:
        """Filter and sort by the prompt, not by the folder's name."""
        items, by = getattr(data, property), bpy.types.UI_UL_list
        shown = by.filter_items_by_name(self.filter_name, self.bitflag_filter_item, items, "prompt")
        return shown, by.sort_items_by_name(items, "prompt") if self.use_filter_sort_alpha else []


class SDI_PT_jobs(Tab, bpy.types.Panel):
    bl_idname = "SDI_PT_jobs"
    bl_label = "Queue and History"
    bl_order = 1
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        manager = context.window_manager
        row = layout.row()
        row.template_list("SDI_UL_jobs", "", manager, "sdi_jobs", manager, "sdi_job_index", rows=ROWS)
        name = job_list.chosen()
        state = session().state_of(name)
        _draw_buttons_beside(row.column(align=True), name, state)
        entry = session().desks.entry(name)
        if entry is not None:
            _draw_chosen(layout, context, entry, state)
        _draw_engine(layout)


def _draw_buttons_beside(column: bpy.types.UILayout, name: str, state: str) -> None:
    for by, icon in ((-1, "TRIA_UP"), (1, "TRIA_DOWN")):
        row = column.row(align=True)
        row.active = state == events.QUEUED
        button = row.operator("sdi.move_job", text="", icon=icon)
        button.job, button.by = name, by
    column.separator()
    column.operator("sdi.cancel_waiting", text="", icon="CANCEL")
    column.operator("sdi.delete_job", text="", icon="TRASH").job = name
    column.operator("sdi.refresh_jobs", text="", icon="FILE_REFRESH")


def _draw_chosen(layout: bpy.types.UILayout, context: bpy.types.Context, entry: Entry, state: str) -> None:
    name = entry.name
    if entry.trouble:
        wrapped_label(layout, context, entry.trouble, "ERROR")
        button = layout.operator("sdi.open_job", text="Open Folder", icon="FILE_FOLDER")
        button.job, button.what = name, "FOLDER"
        return
    wrapped_label(layout, context, _about(entry, state))
    target = entry.placement.target if entry.placement is not None else None
    if target is not None and entry.request is not None:  # there may be many jobs of one prompt
        wrapped_label(layout, context, words.made_for(entry.request.task, target.name), "OBJECT_DATA")
    made_for = entry.placement.blend_file if entry.placement is not None else ""
    if made_for and made_for != bpy.data.filepath:
        wrapped_label(layout, context, f"Made for {bpy.path.basename(made_for)}", "FILE_BLEND")
    for sentence in session().arrivals.told.get(name, ()):
        wrapped_label(layout, context, sentence, "INFO")
    row = layout.row(align=True)
    if state == events.DONE:
        task = entry.request.task if entry.request is not None else "object"
        row.operator("sdi.import_result", text=words.import_label(task, entry.is_imported), icon="IMPORT").job = name
    elif state in _RESUMABLE:
        row.operator("sdi.resume_job", icon="PLAY").job = name
    elif state:
        text = "Remove from Queue" if state == events.QUEUED else "Cancel"
        if session().desks.waits_from(name) is not None:
            row.operator("sdi.run_job_here", icon="PLAY").job = name
            text = "Remove"  # the other button leaves no room for more
        row.operator("sdi.cancel_job", text=text, icon="CANCEL").job = name
    button = row.operator("sdi.open_job", text="", icon="FILE_FOLDER")
    button.job, button.what = name, "FOLDER"
    row = layout.row(align=True)
    row.operator("sdi.copy_settings", text="Reuse Settings", icon="COPYDOWN").job = name
    row.operator("sdi.variations", icon="MOD_ARRAY").job = name


def _about(entry: Entry, state: str) -> str:
    elsewhere = session().desks.waits_from(entry.name)
    waits = f"Queued elsewhere ({elsewhere or 'unknown machine'})"
    parts = [
        state.capitalize() if elsewhere is None else waits,
        time.strftime("%d %b, %H:%M", time.localtime(entry.created)),
    ]
    if entry.seconds is not None:
        parts.append(words.duration(entry.seconds))
    seed = [f"seed {entry.request.seed}"] if entry.request is not None else []
    return " · ".join(parts + seed)


def _draw_engine(layout: bpy.types.UILayout) -> None:
    runner = session().desks.runner
    engine = runner.engine if runner is not None else None
    if engine is None:
        return
    row = layout.row()
    model = str(engine.get("model") or "")
    row.label(text=f"Engine ready: {words.short_model(model)}" if model else "Engine ready", icon="MEMORY")
    row.operator("sdi.free_memory", text="", icon="X")


CLASSES = (SDI_UL_jobs, SDI_PT_jobs)
