"""Entries in Blender's own menus, which its search (F3) finds too, and a hint when textures are exported."""

from __future__ import annotations

import bpy

from ..scene import looks, origin


class SDI_MT_object(bpy.types.Menu):
    """Objects and textures from text"""

    bl_idname = "SDI_MT_object"
    bl_label = "SDI Text to 3D"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator("sdi.from_text", icon="SHADERFX")
        layout.operator("sdi.generate_from_file", text="Generate from List of Prompts…", icon="TEXT")
        layout.separator()
        layout.operator("sdi.texture", text="Texture Selected", icon="TEXTURE")
        layout.operator("sdi.refine", text="Refine Shape of Selected", icon="SHAPEKEY_DATA")
        layout.operator("sdi.restore_materials", icon="LOOP_BACK")
        layout.separator()
        layout.operator("sdi.regenerate", icon="FILE_REFRESH")
        layout.operator("sdi.variations", text="Variations…", icon="DUPLICATE")
        layout.operator("sdi.copy_settings", text="Reuse Settings", icon="COPYDOWN")
        layout.separator()
        layout.operator("sdi.mark_as_asset", icon="ASSET_MANAGER")
        layout.operator("sdi.write_textures", text="Write Textures…", icon="TEXTURE")
        layout.operator("sdi.put_uv_map_first", icon="GROUP_UVS")


_WHERE_TEXTURES_ARE = {
    "WM_OT_obj_export": ("An OBJ cannot contain textures:", "it needs them as files beside it."),
    "EXPORT_SCENE_OT_fbx": ("Unless Path Mode is Copy, an FBX", "only finds textures beside it."),
}
"""Two lines of text by the exporting operator."""


class SDI_PT_export(bpy.types.Panel):
    """Shown in the file browser while an OBJ or FBX is exported"""

    bl_idname = "SDI_PT_export"
    bl_label = "SDI Textures"
    bl_space_type = "FILE_BROWSER"
    bl_region_type = "TOOL_PROPS"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        operator = getattr(context.space_data, "active_operator", None)
        return operator is not None and operator.bl_idname in _WHERE_TEXTURES_ARE

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column()
        first, second = _WHERE_TEXTURES_ARE[context.space_data.active_operator.bl_idname]
        column.label(text=first, icon="INFO")
        column.label(text=second, icon="BLANK1")
        column.operator_context = "EXEC_DEFAULT"
        button = column.operator("sdi.write_textures", text="Write Textures There", icon="TEXTURE")
        button.directory = context.space_data.params.directory.decode(errors="surrogateescape")
        if context.space_data.active_operator.bl_idname == "EXPORT_SCENE_OT_fbx":
            column.label(text="Readers of FBX take the first UV map:", icon="INFO")
            column.operator("sdi.put_uv_map_first", text="Put That of the Texture First", icon="GROUP_UVS")


CLASSES = (SDI_MT_object, SDI_PT_export)


def attach() -> None:
    bpy.types.VIEW3D_MT_mesh_add.append(_draw_in_add_menu)
    bpy.types.VIEW3D_MT_object.append(_draw_in_object_menu)
    bpy.types.VIEW3D_MT_object_context_menu.append(_draw_in_context_menu)


def detach() -> None:
    bpy.types.VIEW3D_MT_object_context_menu.remove(_draw_in_context_menu)
    bpy.types.VIEW3D_MT_object.remove(_draw_in_object_menu)
    bpy.types.VIEW3D_MT_mesh_add.remove(_draw_in_add_menu)


def _draw_in_add_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.operator_context = "INVOKE_DEFAULT"
    self.layout.operator("sdi.from_text", text="From Text…", icon="SHADERFX")


def _draw_in_object_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.menu(SDI_MT_object.bl_idname, icon="SHADERFX")


def _draw_in_context_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    if origin.is_ours(context.active_object) or looks.of(context.active_object):
        _draw_in_object_menu(self, context)
