"""The dialog for a new object, opened by the Add menu and the shortcut."""

from __future__ import annotations

import bpy

from ..operators.generate import Generate
from .settings import draw_in_dialog

WIDTH = 380


class SDI_OT_from_text(Generate, bpy.types.Operator):
    """Describe an object in words, and your own diffusion model makes a textured mesh of it at the 3D cursor"""

    bl_idname = "sdi.from_text"
    bl_label = "Generate from Text…"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(
            self, width=WIDTH, title="SDI Text to 3D", confirm_text="Generate"
        )

    def draw(self, context: bpy.types.Context) -> None:
        draw_in_dialog(self.layout, context, WIDTH)


CLASSES = (SDI_OT_from_text,)
