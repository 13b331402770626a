"""What Blender is told when the extension is enabled, and how it forgets all of it again."""

from __future__ import annotations

from contextlib import ExitStack

import bpy

from . import operators, panels
from .console import commands
from .operators import shortcut
from .panels import status_bar
from .state import current, job_list, logs, properties
from .state.session import Session

CLASSES: tuple[type, ...] = (*properties.CLASSES, *job_list.CLASSES, *operators.CLASSES, *panels.CLASSES)

_registered = ExitStack()
"""What takes back what `register` has done, the last first."""


def register() -> None:
    with ExitStack() as undo:  # what fails here leaves nothing of what came before
        logs.attach()
        undo.callback(logs.detach)
        current.hold(Session())
        undo.callback(current.hold, None)
        for cls in CLASSES:
            bpy.utils.register_class(cls)
            undo.callback(bpy.utils.unregister_class, cls)
        for part in (properties, job_list, status_bar, operators.presets, panels.menus):
            part.attach()
            undo.callback(part.detach)
        undo.callback(commands.attach())
        undo.callback(shortcut.attach())
        current.session().begin()
        undo.callback(lambda: current.session().end())
        _registered.push(undo.pop_all())


def unregister() -> None:
    _registered.close()
