"""The shortcut for a new object, which can be changed in Blender's Preferences, Keymap."""

from __future__ import annotations

from collections.abc import Callable

import bpy

OPERATOR = "sdi.from_text"
KEY = {"type": "T", "value": "PRESS", "shift": True, "alt": True}
"""Unused in the 3D viewport by both of Blender's own keymaps, from 4.2 to 5.2."""


def attach() -> Callable[[], None]:
    """Add the shortcut to the keymap of the 3D viewport; returns a function that removes it."""
    keys = bpy.context.window_manager.keyconfigs.addon
    if keys is None:  # in the background
        return lambda: None
    keymap = keys.keymaps.new(name="3D View", space_type="VIEW_3D")
    item = keymap.keymap_items.new(OPERATOR, **KEY)
    return lambda: keymap.keymap_items.remove(item)
