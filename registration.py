"""Registers the extension's parts with Blender when it is enabled, and unregisters them when it is disabled."""

from __future__ import annotations

from contextlib import ExitStack

import bpy

from . import operators, panels
from .console import commands
from .operators import shortcut
from .panels import status_bar
from .scene import looks, step
from .state import current, job_list, logs, properties
from .state.session import Session

CLASSES: tuple[type, ...] = (
    *properties.CLASSES,
    *job_list.CLASSES,
    *looks.CLASSES,
    *step.CLASSES,
    *operators.CLASSES,
    *panels.CLASSES,
)

_registered = ExitStack()
"""Undoes what `register` has done, the last step first."""


def register() -> None:
    """Register everything; called when the extension is enabled."""
    with ExitStack() as undo:  # if a step fails, the earlier ones are undone
        logs.attach()
        undo.callback(logs.detach)
        current.hold(Session())
        undo.callback(current.hold, None)
        for cls in CLASSES:
            bpy.utils.register_class(cls)
            undo.callback(bpy.utils.unregister_class, cls)
        for part in (properties, job_list, looks, status_bar, operators.presets, panels.menus):
            part.attach()
            undo.callback(part.detach)
        undo.callback(commands.attach())
        undo.callback(shortcut.attach())
        current.session().begin()
        undo.callback(lambda: current.session().end())
        _registered.push(undo.pop_all())


def unregister() -> None:
    """Undo `register`; called when the extension is disabled."""
    _registered.close()
