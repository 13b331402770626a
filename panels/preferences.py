"""Draws the extension's preferences: the engine and its set-up, folders, other options."""

from __future__ import annotations

import bpy

from ..sdi_engine import install
from ..state.current import session
from ..state.preferences import NEEDS_ONLINE_ACCESS, Preferences
from .text import wrapped_label

_MOST_FIXES = 4
_MOST_PYTHONS = 8


class SDI_AP_preferences(Preferences, bpy.types.AddonPreferences):
    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        _draw_engine(layout.box(), context, self)
        _draw_pythons(layout.box(), context)
        _draw_environment(layout.box(), context, self)
        column = layout.box().column()
        column.label(text="Folders", icon="FILE_FOLDER")
        column.prop(self, "results_folder")
        column.prop(self, "model_folder", placeholder="None")
        column = layout.box().column()
        column.label(text="While You Work", icon="TIME")
        column.prop(self, "idle_minutes", text="Keep Engine Ready (Minutes)")
        column.prop(self, "notify", text="Notify When Done")
        column.prop(self, "cluster", placeholder="None")


def _draw_engine(layout: bpy.types.UILayout, context: bpy.types.Context, settings: Preferences) -> None:
    setup = session().engine_setup
    layout.label(text="Engine", icon="SETTINGS")
    layout.prop(settings, "engine_python", placeholder="Found automatically")
    diagnosis = setup.diagnosis
    if setup.is_examining():
        layout.label(text="Checking what is installed…", icon="SORTTIME")
    elif diagnosis is None:
        layout.label(text="The engine has not been checked yet: press Check.", icon="QUESTION")
    else:
        wrapped_label(layout, context, diagnosis.sentence, "CHECKMARK" if diagnosis.ok else "ERROR")
        fixes = [f"{check.name}: {check.fix or check.detail}" for check in diagnosis.missing]
        fixes += [f"{check.name}: {check.detail}. {check.fix}" for check in diagnosis.advice]
        for fix in fixes[:_MOST_FIXES]:
            wrapped_label(layout, context, fix, "DOT")
        if len(fixes) > _MOST_FIXES:
            more = f"{len(fixes) - _MOST_FIXES} more, all in the report; or install the engine environment below."
            wrapped_label(layout, context, more, "DOT")
    row = layout.row()
    row.operator("sdi.check_engine", icon="CHECKMARK")
    row.operator("sdi.copy_report", icon="COPYDOWN")


def _draw_pythons(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    setup = session().engine_setup
    row = layout.row()
    row.label(text="Pythons on This Computer", icon="CONSOLE")
    row.operator("sdi.find_pythons", icon="VIEWZOOM")
    survey = setup.survey
    if survey is None:
        return
    in_use = setup.diagnosis
    for found in survey.found[:_MOST_PYTHONS]:
        row = layout.row()
        column = row.column(align=True)
        column.scale_y = 0.8
        column.label(text=found.summary, icon="CHECKMARK" if found.diagnosis.ok else "DOT")
        column.label(text=str(found.program), icon="BLANK1", translate=False)
        column = row.column()
        column.ui_units_x = 4
        if in_use is not None and in_use.is_of_same_environment(found.diagnosis):
            column.label(text="In use")
        elif found.diagnosis.refusal:
            column.label(text="Unsuitable")
        else:
            column.operator("sdi.use_python").python = str(found.program)
    if len(survey.found) > _MOST_PYTHONS:
        layout.label(text=f"{len(survey.found) - _MOST_PYTHONS} more, less suitable", icon="BLANK1")
    if setup.is_looking_for_pythons():
        layout.label(text="Searching for Pythons…", icon="SORTTIME")
    elif not survey.found:
        wrapped_label(layout, context, "No Python was found.", "INFO")


def _draw_environment(layout: bpy.types.UILayout, context: bpy.types.Context, settings: Preferences) -> None:
    setup = session().engine_setup
    layout.label(text="The Engine's Own Environment", icon="PACKAGE")
    state = setup.environment_state
    if setup.is_installing():
        text, factor = setup.progress()
        layout.progress(text=text, factor=factor)
        layout.operator("sdi.cancel_installation", icon="CANCEL")
        return
    if setup.is_removing():
        layout.label(text="Removing it…", icon="SORTTIME")
        return
    if setup.complaint:
        column = layout.column()
        column.alert = True
        wrapped_label(column, context, setup.complaint, "ERROR")
        if setup.installation_log is not None:
            log = layout.operator("wm.path_open", text="Open Log", icon="TEXT")
            log.filepath = str(setup.installation_log)
    if state == install.READY:
        layout.label(text="Installed, and in use" if setup.uses_environment else "Installed", icon="CHECKMARK")
    elif state == install.OUTDATED:
        wrapped_label(layout, context, "It was made for another version of the extension: install it again.", "ERROR")
    elif state == install.UNFINISHED:
        wrapped_label(layout, context, "It was never finished: install it again, or remove it.", "ERROR")
    else:
        text = (
            "A Python with all packages that the engine needs, in a folder of its own: a download of up to 3 GB. "
            "Blender's own Python is not changed."
        )
        wrapped_label(layout, context, text, "INFO")
    layout.prop(settings, "torch_index", placeholder="Default index")
    row = layout.row()
    if state == install.MISSING:
        row.operator("sdi.install_engine", icon="IMPORT")
    else:
        row.operator("sdi.install_engine", text="Install Again", icon="IMPORT")
        row.operator("sdi.remove_environment", text="Remove", icon="TRASH")
    if not bpy.app.online_access:
        row = layout.row()
        row.label(text=f"{NEEDS_ONLINE_ACCESS}.", icon="INFO")
        row.operator("screen.userpref_show", text="System", icon="PREFERENCES").section = "SYSTEM"


CLASSES = (SDI_AP_preferences,)
