"""The active object, if this extension made it: its prompt, seed and model, and what can be made from them."""

from __future__ import annotations

import bpy

from ..scene import origin
from .tab import Tab
from .text import wrapped_label


class SDI_PT_object(Tab, bpy.types.Panel):
    bl_idname = "SDI_PT_object"
    bl_label = "Active Object"
    bl_order = 20
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return origin.is_ours(context.active_object)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        placed = context.active_object
        wrapped_label(layout, context, str(placed[origin.PROMPT]), "OBJECT_DATA")
        column = layout.column(align=True)
        for name, key in (("Seed", origin.SEED), ("Model", origin.MODEL)):
            row = column.split(factor=0.3)
            row.label(text=name)
            row.label(text=str(placed.get(key, "")), translate=False)
        column = layout.column(align=True)
        column.operator("sdi.regenerate", icon="FILE_REFRESH")
        column.operator("sdi.variations", icon="DUPLICATE")
        column.operator("sdi.copy_settings", icon="COPYDOWN")
        column = layout.column(align=True)
        column.operator("sdi.mark_as_asset", icon="ASSET_MANAGER")
        column.operator("sdi.write_textures", text="Write Textures…", icon="TEXTURE")


CLASSES = (SDI_PT_object,)
