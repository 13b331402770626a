"""The extension's preferences: where the engine's Python is, and where results go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy.props import StringProperty

from . import wrapping
from .jobs.engine import PYTHON_VARIABLE, Engine, find_python

EXTENSION_FOLDER = Path(__file__).resolve().parent
PRIVATE_ENVIRONMENT = "engine"
"""The virtual environment below the folder that Blender lends to an extension."""


def _default_results_folder() -> str:
    documents = Path.home() / "Documents"
    return str((documents if documents.is_dir() else Path.home()) / "SDI Results")


class SDI_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    engine_python: StringProperty(
        name="Engine Python",
        description=(
            "The Python 3.11 or later, or the folder of its virtual environment, that has the engine's packages. "
            f"Empty to search: the environment variable {PYTHON_VARIABLE}, the extension's own environment, "
            "then the search path"
        ),
        subtype="FILE_PATH",
    )  # type: ignore[valid-type]
    results_folder: StringProperty(
        name="Results",
        description="Each object's mesh, texture, previews and log go into a folder of its own in here",
        default=_default_results_folder(),
        subtype="DIR_PATH",
    )  # type: ignore[valid-type]

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "engine_python", placeholder="Search for it")
        layout.prop(self, "results_folder")
        layout.operator("sdi.check_engine", icon="CHECKMARK")
        from . import session  # which imports this module

        examination = session.examination
        if examination is None:
            return
        if examination.diagnosis is None:
            layout.label(text="Asking the engine what is installed…", icon="SORTTIME")
            return
        diagnosis = examination.diagnosis
        wrapping.label(layout, context, diagnosis.sentence, "CHECKMARK" if diagnosis.ok else "ERROR")
        for check in diagnosis.missing:
            wrapping.label(layout, context, f"{check.name}: {check.fix or check.detail}", "DOT")


CLASSES = (SDI_AP_preferences,)


def of(context: bpy.types.Context) -> Any:
    """This extension's preferences."""
    return context.preferences.addons[__package__].preferences


def engine(context: bpy.types.Context) -> Engine:
    """The engine as the preferences describe it."""
    chosen = of(context).engine_python
    python = find_python(bpy.path.abspath(chosen) if chosen else "", _private_environment())
    return Engine(python, EXTENSION_FOLDER, online=bpy.app.online_access)


def results_folder(context: bpy.types.Context) -> Path:
    """Where job folders are made."""
    return Path(bpy.path.abspath(of(context).results_folder or _default_results_folder())).absolute()


def _private_environment() -> Path | None:
    if not (__package__ or "").startswith("bl_ext."):
        return None  # enabled from a checkout: Blender lends a folder to installed extensions only
    return Path(bpy.utils.extension_path_user(__package__, path=PRIVATE_ENVIRONMENT))
