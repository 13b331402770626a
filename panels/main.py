"""The tab "SDI" in the 3D view's sidebar."""

from __future__ import annotations

import bpy

from .. import session, wrapping
from ..jobs import wording
from ..jobs.job import Job
from ..sdi_engine import events

_PREVIEW_SCALE = 10.0
_PHASE_UNTIL_HEARD_OF = "Starting the engine"


class _Tab:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SDI"


class SDI_PT_generate(_Tab, bpy.types.Panel):
    bl_idname = "SDI_PT_generate"
    bl_label = "Text to 3D"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.sdi
        layout.prop(settings, "prompt", text="", placeholder="What to make, e.g. a red mug")
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        row = column.row(align=True)
        row.prop(settings, "model")
        row.operator("sdi.choose_model", text="", icon="FILE_FOLDER")
        column.prop(settings, "preset")
        row = column.row(align=True)
        row.prop(settings, "seed")
        row.operator("sdi.random_seed", text="", icon="FILE_REFRESH")
        column.prop(settings, "height")
        row = layout.row()
        row.scale_y = 1.6
        row.operator("sdi.generate", icon="SHADERFX")
        if session.complaint:
            _alert(layout, context, session.complaint)
        if session.job is not None:
            _draw_job(layout.box(), context, session.job)


class SDI_PT_advanced(_Tab, bpy.types.Panel):
    bl_idname = "SDI_PT_advanced"
    bl_label = "Advanced"
    bl_parent_id = "SDI_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.sdi
        for names in (
            ("negative_prompt", "noise", "perp_neg", "steps", "guidance", "resolution"),
            ("face_budget", "texture_size"),
            ("device",),
        ):
            column = layout.column()
            for name in names:
                column.prop(settings, name)


def _draw_job(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    wrapping.label(layout, context, job.request.prompt, "OBJECT_DATA")
    icon = session.preview_icon()
    if icon:
        layout.template_icon(icon, scale=_PREVIEW_SCALE)
    if not job.is_over:
        _draw_running(layout, job)
    elif job.state == events.DONE:
        _draw_done(layout, context, job)
    else:
        _draw_stopped(layout, context, job)
    for notice in job.notices[-2:]:
        wrapping.label(layout, context, notice, "INFO")


def _draw_running(layout: bpy.types.UILayout, job: Job) -> None:
    progress = job.progress
    if progress is None:
        layout.progress(text=_PHASE_UNTIL_HEARD_OF, factor=0.0)
    else:
        layout.progress(text=progress.phase, factor=wording.fraction(progress))
        layout.label(text=wording.steps(progress))
    layout.operator("sdi.cancel_job", text="Cancelling…" if job.is_cancelling else "Cancel", icon="CANCEL")


def _draw_done(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    if session.waits_for:
        wrapping.label(layout, context, session.waits_for, "PAUSE")
    elif session.wants_import():
        wrapping.label(layout, context, "The object is ready.", "CHECKMARK")
        layout.operator("sdi.import_result", icon="IMPORT")
    else:
        wrapping.label(layout, context, "Done: it stands in the scene.", "CHECKMARK")
    row = layout.row()
    row.operator("sdi.open_job", text="Open Folder", icon="FILE_FOLDER").what = "FOLDER"
    row.operator("sdi.dismiss_job", icon="X")


def _draw_stopped(layout: bpy.types.UILayout, context: bpy.types.Context, job: Job) -> None:
    if job.failure is not None:
        _alert(layout, context, job.failure.message)
    else:
        wrapping.label(layout, context, "Cancelled; what it reached is kept.", "CANCEL")
    layout.operator("sdi.resume_job", icon="PLAY")
    row = layout.row()
    row.operator("sdi.open_job", text="Open Log", icon="TEXT").what = "LOG"
    row.operator("sdi.dismiss_job", icon="X")


def _alert(layout: bpy.types.UILayout, context: bpy.types.Context, sentence: str) -> None:
    column = layout.column()
    column.alert = True
    wrapping.label(column, context, sentence, "ERROR")


CLASSES = (SDI_PT_generate, SDI_PT_advanced)
