"""The extension's preferences: the engine's Python and how it is set up, where results go, where models are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, IntProperty, StringProperty

from ..jobs.engine import PYTHON_VARIABLE, Engine, find_python
from ..panels.text import wrapped_label
from ..sdi_engine.doctor import SUITABLE_PYTHONS
from ..sdi_engine.system.pasted import as_meant

PACKAGE = (__package__ or "").rpartition(".")[0]
"""Of the extension, of which this is a room."""

EXTENSION_FOLDER = Path(__file__).resolve().parent.parent
PRIVATE_ENVIRONMENT = "engine"
"""The virtual environment below the folder that Blender lends to an extension (on Windows: a shorter one)."""

NEEDS_ONLINE_ACCESS = "Allow Online Access in Preferences, System first"

_MOST_FIXES = 4
_MOST_PYTHONS = 8


def _default_results_folder() -> str:
    documents = Path.home() / "Documents"
    return str((documents if documents.is_dir() else Path.home()) / "SDI Results")


def _engine_changed(_self: bpy.types.AddonPreferences, _context: bpy.types.Context) -> None:
    from . import engine_setup  # which imports this module

    if not bpy.app.background:
        engine_setup.look()


def _results_changed(_self: bpy.types.AddonPreferences, context: bpy.types.Context) -> None:
    from . import session  # which imports this module

    session.results_were_changed(context)


class SDI_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = PACKAGE

    engine_python: StringProperty(
        name="Engine Python",
        description=(
            f"The {SUITABLE_PYTHONS}, or the folder of its virtual environment, that has the engine's packages. "
            f"Empty to search: the environment variable {PYTHON_VARIABLE}, the extension's own environment, "
            "then the search path"
        ),
        subtype="FILE_PATH",
        update=_engine_changed,
    )  # type: ignore[valid-type]
    torch_index: StringProperty(
        name="Torch Index",
        description=(
            "Where Install Engine Environment gets torch from: the address behind --index-url in the command that "
            "pytorch.org gives for your GPU. Empty for the usual place, which suits Macs, and NVIDIA GPUs on Linux"
        ),
    )  # type: ignore[valid-type]
    results_folder: StringProperty(
        name="Results",
        description="Each object's mesh, texture, previews and log go into a folder of its own in here",
        default=_default_results_folder(),
        subtype="DIR_PATH",
        update=_results_changed,
    )  # type: ignore[valid-type]
    model_folder: StringProperty(
        name="Models",
        description="A folder in which the model menu looks for .safetensors files and folders in Diffusers layout",
        subtype="DIR_PATH",
    )  # type: ignore[valid-type]
    idle_minutes: IntProperty(
        name="Keep Engine Ready",
        description="Minutes for which an engine without work keeps its model in memory, to begin the next object soon",
        default=10,
        min=0,
        max=240,
    )  # type: ignore[valid-type]
    notify: BoolProperty(
        name="Notify",
        description="Show a notification of the operating system when an object is done",
        default=True,
    )  # type: ignore[valid-type]

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


CLASSES = (SDI_AP_preferences,)


def of(context: bpy.types.Context) -> Any:
    """This extension's preferences."""
    return context.preferences.addons[PACKAGE].preferences


def engine(context: bpy.types.Context) -> Engine:
    """The engine as the preferences describe it."""
    chosen = as_meant(of(context).engine_python)
    python = find_python(bpy.path.abspath(chosen) if chosen else "", private_environment())
    return Engine(python, EXTENSION_FOLDER, online=bpy.app.online_access)


def results_folder(context: bpy.types.Context) -> Path:
    """Where job folders are made."""
    chosen = as_meant(of(context).results_folder) or _default_results_folder()
    return Path(bpy.path.abspath(chosen)).expanduser().absolute()


def private_environment() -> Path | None:
    """The folder of the engine's own environment, which need not exist; None where Blender lends no folder."""
    if not PACKAGE.startswith("bl_ext."):
        return None  # enabled from a checkout: Blender lends a folder to installed extensions only
    local = os.environ.get("LOCALAPPDATA")
    if sys.platform == "win32" and local:  # torch's paths of 170 characters would be too long below Blender's folder
        return Path(local, "SDI", PRIVATE_ENVIRONMENT)
    return Path(bpy.utils.extension_path_user(PACKAGE, path=PRIVATE_ENVIRONMENT))


def _draw_engine(layout: bpy.types.UILayout, context: bpy.types.Context, settings: SDI_AP_preferences) -> None:
    from . import engine_setup  # which imports this module

    layout.label(text="Engine", icon="SETTINGS")
    layout.prop(settings, "engine_python", placeholder="Search for it")
    diagnosis = engine_setup.diagnosis
    if engine_setup.is_examining():
        layout.label(text="Asking the engine what is installed…", icon="SORTTIME")
    elif diagnosis is None:
        layout.label(text="The engine was not asked yet: press Check.", icon="QUESTION")
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
    from . import engine_setup

    row = layout.row()
    row.label(text="Pythons on This Computer", icon="CONSOLE")
    row.operator("sdi.find_pythons", icon="VIEWZOOM")
    survey = engine_setup.survey
    if survey is None:
        return
    in_use = engine_setup.diagnosis
    for found in survey.found[:_MOST_PYTHONS]:
        row = layout.row()
        column = row.column(align=True)
        column.scale_y = 0.8
        column.label(text=found.summary, icon="CHECKMARK" if found.diagnosis.ok else "DOT")
        column.label(text=str(found.program), icon="BLANK1")
        column = row.column()
        column.ui_units_x = 4
        if in_use is not None and in_use.is_of_same_environment(found.diagnosis):
            column.label(text="In use")
        elif found.diagnosis.refusal:
            column.label(text="Of no use")
        else:
            column.operator("sdi.use_python").python = str(found.program)
    if len(survey.found) > _MOST_PYTHONS:
        layout.label(text=f"{len(survey.found) - _MOST_PYTHONS} more that are of less use", icon="BLANK1")
    if engine_setup.is_looking_for_pythons():
        layout.label(text="Looking for Pythons…", icon="SORTTIME")
    elif not survey.found:
        wrapped_label(layout, context, "None was found.", "INFO")


def _draw_environment(layout: bpy.types.UILayout, context: bpy.types.Context, settings: SDI_AP_preferences) -> None:
    from ..sdi_engine import install
    from . import engine_setup

    layout.label(text="The Engine's Own Environment", icon="PACKAGE")
    state = engine_setup.environment_state
    if engine_setup.is_installing():
        text, factor = engine_setup.progress()
        layout.progress(text=text, factor=factor)
        layout.operator("sdi.cancel_installation", icon="CANCEL")
        return
    if engine_setup.is_removing():
        layout.label(text="Removing it…", icon="SORTTIME")
        return
    if engine_setup.complaint:
        column = layout.column()
        column.alert = True
        wrapped_label(column, context, engine_setup.complaint, "ERROR")
        if engine_setup.installation_log is not None:
            log = layout.operator("wm.path_open", text="Open Log", icon="TEXT")
            log.filepath = str(engine_setup.installation_log)
    if state == install.READY:
        layout.label(text="Installed, and in use" if engine_setup.uses_environment else "Installed", icon="CHECKMARK")
    elif state == install.OUTDATED:
        wrapped_label(layout, context, "It was made for another version of the extension: install it again.", "ERROR")
    elif state == install.UNFINISHED:
        wrapped_label(layout, context, "It was never finished: install it again, or remove it.", "ERROR")
    else:
        text = (
            "A Python with all that the engine needs, in a folder of its own: a download of up to 3 GB. "
            "Blender's own Python stays as it is."
        )
        wrapped_label(layout, context, text, "INFO")
    layout.prop(settings, "torch_index", placeholder="The usual place")
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
