"""Presets of settings, by Blender's own preset system: files in its user scripts, available in every scene."""

from __future__ import annotations

from pathlib import Path

import bpy
from bl_operators.presets import AddPresetBase

from ..state import properties

SUBFOLDER = "sdi_text_to_3d"

SAVED = tuple(
    name
    for parameter in properties.IN_BLENDER.values()
    if parameter.is_saved
    for name in properties.properties_of(parameter)
)
"""The properties that a preset stores: how objects are made, but not which."""

_ROOT = str(Path(__file__).resolve().parent.parent)
"""The extension's folder, which contains `presets/` with `SUBFOLDER`."""


class SDI_OT_preset_add(AddPresetBase, bpy.types.Operator):
    """Save these settings as a preset, or remove a preset; prompt and seed are not part of it"""

    bl_idname = "sdi.preset_add"
    bl_label = "Add Preset"
    preset_menu = "SDI_PT_presets"
    preset_subdir = SUBFOLDER
    # A preset is run as a script: these paths are valid wherever the extension is installed. `preset_defines` is not
    # used, since it does not work in Blender up to 4.3 with Python 3.13.
    preset_values = [f"bpy.context.scene.sdi.{name}" for name in SAVED]

    def execute(self, context: bpy.types.Context) -> set[str]:
        if (self.remove_name or self.remove_active) and self._is_shipped():
            self.report({"WARNING"}, "This preset comes with the extension and cannot be removed")
            return {"CANCELLED"}
        return super().execute(context)

    def _is_shipped(self) -> bool:
        # Blender itself only protects presets in its own extension folders, not those of a checkout.
        name = self.name if self.remove_name else getattr(bpy.types, self.preset_menu).bl_label
        finds = (bpy.utils.preset_find(name, SUBFOLDER, display_name=by_label) for by_label in (False, True))
        found = next(filter(None, finds), None)
        return found is not None and Path(found).is_relative_to(_ROOT)


CLASSES = (SDI_OT_preset_add,)


def attach() -> None:
    """Offer the presets that come with the extension, if this Blender can; the first 4.2 releases cannot."""
    if hasattr(bpy.utils, "register_preset_path"):
        bpy.utils.register_preset_path(_ROOT)


def detach() -> None:
    if hasattr(bpy.utils, "unregister_preset_path"):
        bpy.utils.unregister_preset_path(_ROOT)
