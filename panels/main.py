"""The tab "SDI" in the 3D view's sidebar: the settings, and the current job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy

from ..jobs import words
from ..sdi_engine.config.parameters import following_seed
from ..sdi_engine.contract import events
from ..state.current import session
from .presets import draw_header_preset
from .settings import draw_settings
from .tab import Tab
from .text import wrapped_label
from .texture import draw_buttons

if TYPE_CHECKING:
    from ..jobs.job import Job

PREVIEW_SCALE = 5.5
SIDE_SCALE = 1.9
SAMPLE_SCALE = 4.0
_NOTICE_LINES = 4
_PROMPT_LINES = 4


class SDI_PT_generate(Tab, bpy.types.Panel):
    bl_idname = "SDI_PT_generate"
    bl_label = "Text to 3D"
    bl_order = 0

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        draw_header_preset(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        hint = session().engine_setup.hint()
        if hint:
            box = layout.box()
            wrapped_label(box, context, hint, "INFO")
            box.operator("sdi.open_preferences", icon="PREFERENCES")
        draw_settings(layout, context)
        busy = session().watcher.is_busy()
        row = layout.row(align=True)
        row.scale_y = 1.6
        row.operator("sdi.generate", text="Add to Queue" if busy else "Generate", icon="SHADERFX")
        row.operator("sdi.preview_2d", text="", icon="IMAGE_DATA")
        row.operator("sdi.generate_from_file", text="", icon="TEXT")
        draw_buttons(layout, context)
        display = session().display
        for sentence in filter(None, dict.fromkeys([display.complaint, session().arrivals.complaint])):
            alert(layout, context, sentence)
        if display.preview_2d is not None:
            _draw_preview_2d(layout.box(), context, display.preview_2d)
        _draw_submissions(layout, context)
        _draw_hold(layout, context)
        if display.job is not None:
            _draw_job(layout.box(), context, display.job)


def alert(layout: bpy.types.UILayout, context: bpy.types.Context, sentence: str) -> None:
    """Draw a sentence in red, with an error icon."""
    column = layout.column()
    column.alert = True
    wrapped_label(column, context, sentence, "ERROR")


def _draw_preview_2d(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    row = layout.row()
    row.label(text=job.request.prompt, icon="IMAGE_DATA", translate=False)
    row.operator("sdi.close_preview_2d", text="", icon="X", emboss=False)
    if job.failure is not None:
        alert(layout, context, job.failure.message)
    elif not job.is_over:
        _draw_progress(layout, job)
    elif job.state == events.DONE:
        grid = layout.grid_flow(row_major=True, columns=2, even_columns=True, align=True)
        number = 0
        while icon := session().display.pictures.sample(number):
            column = grid.column(align=True)
            column.template_icon(icon, scale=SAMPLE_SCALE)
            seed = following_seed(job.request.seed, number)
            column.operator("sdi.use_seed", text=f"Use Seed {seed}").number = number
            number += 1
    for notice in job.notices[-1:]:
        wrapped_label(layout, context, notice, "INFO", lines=_NOTICE_LINES)


def _draw_hold(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw why waiting jobs do not start, with the buttons that help."""
    desks = [desk for desk in session().desks.all() if desk.waiting]
    trouble = next((desk.trouble for desk in desks if desk.trouble), "")
    if trouble:
        alert(layout, context, trouble)
        row = layout.row(align=True)
        row.operator("sdi.go_on", text="Try Again", icon="FILE_REFRESH")
        row.operator("sdi.open_preferences", icon="PREFERENCES")
    elif any(desk.is_held for desk in desks):
        wrapped_label(layout, context, "The queue is paused; the engine's memory is free.", "PAUSE")
        layout.operator("sdi.go_on", icon="PLAY")
    elif any(desk.waits_for_another_engine for desk in desks):
        wrapped_label(layout, context, "Another engine on this computer is at work: these jobs come next.", "TIME")


def _draw_submissions(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw how many of a list of prompts are in the queue."""
    submissions = session().submissions
    if not submissions.has_more:
        return
    if submissions.complaint:
        alert(layout, context, submissions.complaint)
        row = layout.row(align=True)
        row.operator("sdi.add_the_rest", text="Try Again", icon="FILE_REFRESH")
        row.operator("sdi.drop_the_rest", icon="X")
        return
    done, every = submissions.progress
    row = layout.row(align=True)
    row.progress(text=f"Added to queue: {done} of {every}", factor=done / every)
    row.operator("sdi.drop_the_rest", text="", icon="X")


def _draw_job(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    """Draw a job, the buttons first, so that neither pictures nor a long prompt push them out of sight."""
    wrapped_label(layout, context, job.request.prompt, words.icon_of(job.request.task), lines=_PROMPT_LINES)
    where = session().arrivals.placement_of(job.name)
    if where is not None and where.target is not None:
        wrapped_label(layout, context, words.made_for(job.request.task, where.target.name), "BLANK1")
    if session().desks.is_elsewhere(job):
        wrapped_label(layout, context, f"In another results folder: {job.folder.path.parent}", "FILE_FOLDER")
    if not job.is_over:
        _draw_running(layout, context, job)
    elif job.state == events.DONE:
        _draw_done(layout, context, job)
    else:
        _draw_stopped(layout, context, job)
    for notice in job.notices[-2:]:
        wrapped_label(layout, context, notice, "INFO", lines=_NOTICE_LINES)
    display = session().display
    icon = display.pictures.preview()
    if icon and job.preview is not None and display.preview_2d is None:
        layout.template_icon(icon, scale=PREVIEW_SCALE)
        row = layout.row(align=True)
        row.alignment = "CENTER"
        for side in display.pictures.sides():
            row.template_icon(side, scale=SIDE_SCALE)


def _draw_running(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    _draw_progress(layout, job)
    if job.elsewhere:
        wrapped_label(layout, context, f"Runs on {job.elsewhere}", "NETWORK_DRIVE")
    row = layout.row(align=True)
    take = row.row(align=True)
    take.enabled = job.progress is not None and job.progress.step > 0  # before that there is nothing yet
    take.operator("sdi.finish_job", text="Finishing…" if job.is_finishing else "Take It Now", icon="CHECKMARK")
    row.prop(context.scene.sdi, "live", text="", icon="HIDE_OFF" if context.scene.sdi.live else "HIDE_ON")
    row = layout.row(align=True)
    row.operator("sdi.pause_job", text="Pausing…" if job.is_pausing else "Pause", icon="PAUSE")
    row.operator("sdi.cancel_job", text="Cancelling…" if job.is_cancelling else "Cancel", icon="CANCEL")


def _draw_progress(layout: bpy.types.UILayout, job: Job) -> None:
    progress = job.progress
    if progress is None:
        text = words.before_any_news(job.state, session().desks.starts_engine_for(job))
        layout.progress(text=text, factor=0.0)
    else:
        layout.progress(text=progress.phase, factor=progress.share)
        layout.label(text=words.steps(progress))


def _draw_done(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    arrivals = session().arrivals
    if arrivals.waits_here(job.name) and arrivals.waits_for:
        wrapped_label(layout, context, arrivals.waits_for, "PAUSE")
    else:
        sentence, is_seen = session().whereabouts.of(context, job)
        wrapped_label(layout, context, sentence, "CHECKMARK" if is_seen else "INFO")
        if not is_seen:
            layout.operator("sdi.import_result", text=words.import_label(job.request.task), icon="IMPORT")
    for sentence in arrivals.told.get(job.name, ()):
        if sentence != arrivals.complaint:  # which is above
            wrapped_label(layout, context, sentence, "INFO")
    row = layout.row()
    row.operator("sdi.open_job", text="Open Folder", icon="FILE_FOLDER").what = "FOLDER"
    row.operator("sdi.dismiss_job", icon="X")


def _draw_stopped(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    if job.failure is not None:
        alert(layout, context, job.failure.message)
    elif job.state == events.PAUSED:
        engine_is_there = session().desks.engine_of(job) is not None
        kept = "its progress is kept" if engine_is_there else "the engine's memory is free"
        wrapped_label(layout, context, f"Paused; {kept}.", "PAUSE")
    else:
        wrapped_label(layout, context, "Cancelled; its progress is kept.", "CANCEL")
    if job.is_resumable:
        layout.operator("sdi.resume_job", icon="PLAY")
    row = layout.row()
    row.operator("sdi.open_job", text="Open Log", icon="TEXT").what = "LOG"
    row.operator("sdi.dismiss_job", icon="X")


CLASSES = (SDI_PT_generate,)
