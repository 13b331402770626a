"""Set up the engine: check its Python, find others, install an environment for it, copy a report."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..sdi_engine import install
from ..sdi_engine.errors import BadInputError
from ..sdi_engine.system.untrusted import printable
from ..state import preferences
from ..state.current import session
from ..state.engine_setup import EngineSetup, lasting_name
from ..state.report import report
from .chosen import path_chosen

_INSTALLING = "The installation is running: wait for it, or cancel it"
_REMOVING = "The environment is being removed: wait a moment"


class SDI_OT_check_engine(bpy.types.Operator):
    """Check which of the engine's packages are installed in its Python, and which are missing"""

    bl_idname = "sdi.check_engine"
    bl_label = "Check"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if _setup().is_examining():
            cls.poll_message_set("The check is running: wait a moment")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        _setup().examine()
        if bpy.app.background:
            _setup().wait()
            assert _setup().diagnosis is not None
            level = "INFO" if _setup().diagnosis.ok else "WARNING"
            self.report({level}, printable(_setup().diagnosis.sentence))
        return {"FINISHED"}


class SDI_OT_find_pythons(bpy.types.Operator):
    """Search for Pythons on this computer, and show what each lacks"""

    bl_idname = "sdi.find_pythons"
    bl_label = "Search"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if _setup().is_looking_for_pythons():
            cls.poll_message_set("The search is running: wait a moment")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        _setup().find_pythons()
        if bpy.app.background:
            _setup().wait()
        return {"FINISHED"}


class SDI_OT_use_python(bpy.types.Operator):
    """Use this Python for the engine"""

    bl_idname = "sdi.use_python"
    bl_label = "Use"
    bl_options = {"INTERNAL"}

    python: StringProperty(name="Python", description="The program of the Python to use")  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            chosen = path_chosen(self.python, "Python")
        except BadInputError as error:
            self.report({"ERROR"}, printable(str(error)))
            return {"CANCELLED"}
        preferences.of(context).engine_python = lasting_name(Path(chosen))
        context.preferences.is_dirty = True
        if bpy.app.background:  # with a window the property's update function has started it
            _setup().glance()
            _setup().wait()
        return {"FINISHED"}


class SDI_OT_install_engine(bpy.types.Operator):
    """Install a Python environment for the engine: a few gigabytes and minutes. An earlier one is used until then"""

    bl_idname = "sdi.install_engine"
    bl_label = "Install Engine Environment"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = _why_not_install()
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        _setup().start_installation()
        if bpy.app.background:
            _setup().wait()
            if _setup().complaint:
                self.report({"ERROR"}, printable(_setup().complaint))
                return {"CANCELLED"}
        return {"FINISHED"}


class SDI_OT_cancel_installation(bpy.types.Operator):
    """Stop the installation, and remove what it has installed; an earlier environment stays"""

    bl_idname = "sdi.cancel_installation"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not _setup().is_installing():
            cls.poll_message_set("No installation is running")
            return False
        if _setup().installation is not None and _setup().installation.is_cancelling:
            cls.poll_message_set("The installation is being cancelled already")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        _setup().cancel_installation()
        return {"FINISHED"}


class SDI_OT_remove_environment(bpy.types.Operator):
    """Remove the engine's own environment from the disk; it can be installed again"""

    bl_idname = "sdi.remove_environment"
    bl_label = "Remove Engine Environment"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = _why_not_remove()
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        _setup().remove_environment()
        if bpy.app.background:
            _setup().wait()
        return {"FINISHED"}


class SDI_OT_copy_report(bpy.types.Operator):
    """Copy what a bug report needs: versions, the check of the engine's Python, the end of the latest job's log"""

    bl_idname = "sdi.copy_report"
    bl_label = "Copy Report"

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.window_manager.clipboard = report(_setup(), session().display.job)
        self.report({"INFO"}, "The report is on the clipboard: paste it into your message")
        return {"FINISHED"}


class SDI_OT_open_preferences(bpy.types.Operator):
    """Open this extension's preferences, where the engine is set up"""

    bl_idname = "sdi.open_preferences"
    bl_label = "Set Up Engine"

    def execute(self, context: bpy.types.Context) -> set[str]:
        if _setup().survey is None and _setup().hint():
            _setup().find_pythons()
        return bpy.ops.preferences.addon_show(module=preferences.PACKAGE)


def _setup() -> EngineSetup:
    return session().engine_setup


def _why_not_install() -> str:
    if not bpy.app.online_access:
        return preferences.NEEDS_ONLINE_ACCESS
    return _why_not_change_environment()


def _why_not_remove() -> str:
    reason = _why_not_change_environment()
    if reason:
        return reason
    if _setup().environment_state == install.MISSING:
        return "The engine has no environment of its own"
    if _setup().uses_environment and session().watcher.is_busy():
        return "A job is running in this environment: wait for it, or cancel it"
    return ""


def _why_not_change_environment() -> str:
    if _setup().is_installing():
        return _INSTALLING
    if _setup().is_removing():
        return _REMOVING
    if preferences.private_environment() is None:
        return "Only an installed extension has a folder for it, and this one runs from a checkout"
    return ""


CLASSES = (
    SDI_OT_check_engine,
    SDI_OT_find_pythons,
    SDI_OT_use_python,
    SDI_OT_install_engine,
    SDI_OT_cancel_installation,
    SDI_OT_remove_environment,
    SDI_OT_copy_report,
    SDI_OT_open_preferences,
)
