"""What Blender is told when the extension is enabled, and how it forgets all of it again."""

from __future__ import annotations

import bpy

from . import commands, operators, panels, preferences, properties, session

CLASSES: tuple[type, ...] = (
    *properties.CLASSES,
    *preferences.CLASSES,
    *operators.CLASSES,
    *panels.CLASSES,
)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    properties.attach()
    commands.register()
    session.begin()


def unregister() -> None:
    session.end()
    commands.unregister()
    properties.detach()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
