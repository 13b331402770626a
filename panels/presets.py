"""The presets button in the panel's header, which saves and loads settings."""

from __future__ import annotations

import bpy
from bl_ui.utils import PresetPanel

from ..operators.presets import SUBFOLDER, SDI_OT_preset_add


class SDI_PT_presets(PresetPanel, bpy.types.Panel):
    """Saved settings"""

    bl_idname = "SDI_PT_presets"
    bl_label = "Presets"
    preset_subdir = SUBFOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = SDI_OT_preset_add.bl_idname


def draw_header_preset(layout: bpy.types.UILayout) -> None:
    """Draw the presets button; for the panel's `draw_header_preset`."""
    SDI_PT_presets.draw_panel_header(layout)


CLASSES = (SDI_PT_presets,)
