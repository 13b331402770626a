"""The shortcut for a new object, which a person can change where Blender has all others: Preferences, Keymap."""

from __future__ import annotations

import bpy

OPERATOR = "sdi.from_text"
KEY = {"type": "T", "value": "PRESS", "shift": True, "alt": True}
"""Neither of Blender's own keymaps, from 4.2 to 5.2, has anything on it in the 3D viewport."""

_items: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []


def attach() -> None:
    keys = bpy.context.window_manager.keyconfigs.addon
    if keys is None:
        return
    keymap = keys.keymaps.new(name="3D View", space_type="VIEW_3D")
    _items.append((keymap, keymap.keymap_items.new(OPERATOR, **KEY)))


def detach() -> None:
    for keymap, item in _items:
        keymap.keymap_items.remove(item)
    _items.clear()
