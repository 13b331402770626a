"""What Blender is told when the extension is enabled, and how it forgets all of it again."""

from __future__ import annotations

import bpy

from . import operators, panels, scene
from .console import commands
from .operators import shortcut
from .panels import status_bar
from .state import engine_setup, job_list, logs, model_list, preferences, properties, session

CLASSES: tuple[type, ...] = (
    *properties.CLASSES,
    *job_list.CLASSES,
    *preferences.CLASSES,
    *operators.CLASSES,
    *panels.CLASSES,
)


def register() -> None:
    logs.begin()
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    properties.attach()
    job_list.attach()
    commands.register()
    scene.begin()
    session.begin()
    status_bar.begin()
    engine_setup.begin()
    operators.presets.attach()
    panels.menus.attach()
    shortcut.attach()
    model_list.begin()


def unregister() -> None:
    model_list.end()
    shortcut.detach()
    panels.menus.detach()
    operators.presets.detach()
    engine_setup.end()
    status_bar.end()
    session.end()
    scene.end()
    commands.unregister()
    job_list.detach()
    properties.detach()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
    logs.end()
