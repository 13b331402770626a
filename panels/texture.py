"""Texturing and refining the selected meshes: the buttons, their settings, and the looks that the active object has."""

from __future__ import annotations

import bpy

from ..jobs import words
from ..scene import looks
from ..sdi_engine.config.parameters import PARAMETERS
from .tab import Tab

_LONGEST_NAME = 20


def draw_buttons(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw the buttons that texture the selected meshes, and refine their shape."""
    column = layout.column(align=True)
    column.operator("sdi.texture", text=_label(context), icon="TEXTURE")
    column.operator("sdi.refine", icon="SHAPEKEY_DATA")


def _label(context: bpy.types.Context) -> str:
    meshes = [thing for thing in context.selected_objects if thing.type == "MESH"]
    if len(meshes) > 1:
        return f"Texture {len(meshes)} Objects"
    return f"Texture “{words.shortened(meshes[0].name, _LONGEST_NAME)}”" if meshes else "Texture Selected"


class SDI_PT_texture(Tab, bpy.types.Panel):
    """How the selected meshes are textured and refined, and the looks that they have"""

    bl_idname = "SDI_PT_texture"
    bl_label = "Texture and Shape"
    bl_parent_id = "SDI_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.active_object is not None and context.active_object.type == "MESH"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.sdi
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, PARAMETERS["strength"].prop, slider=True)
        column.prop(settings, PARAMETERS["front"].prop)
        row = column.row(align=True)
        for text, front in words.FRONTS.items():
            row.operator("sdi.set_front", text=text, depress=settings.front == front).front = front
        column.prop(settings, PARAMETERS["texture_size"].prop)
        column.prop(settings, PARAMETERS["max_move"].prop, slider=True)
        column.prop(settings, "texture_only")
        if settings.texture_only == "GROUP":
            column.prop_search(settings, "texture_group", context.active_object, "vertex_groups")
        _draw_looks(layout, context.active_object)


def _draw_looks(layout: bpy.types.UILayout, thing: bpy.types.Object) -> None:
    known = looks.of(thing)
    if not known:
        return
    shown = looks.shown(thing)
    layout.label(text="Looks", icon="MATERIAL")
    column = layout.column(align=True)
    for index, look in enumerate(known):
        row = column.row(align=True)
        text = f"{look.name} · seed {look.seed}" if look.job else look.name
        icon = "RADIOBUT_ON" if index == shown else "RADIOBUT_OFF"
        row.operator("sdi.show_look", text=text, icon=icon, depress=index == shown, translate=False).index = index
        if look.job:
            row.operator("sdi.remove_look", text="", icon="X").index = index
    is_before = shown == looks.before(thing)
    row = layout.row(align=True)
    row.operator(
        "sdi.restore_materials",
        text="Use Texture Again" if is_before else "Restore Materials",
        icon="LOOP_FORWARDS" if is_before else "LOOP_BACK",
    )
    if not is_before:
        name = known[shown].job.replace("\\", "/").rpartition("/")[2]
        row.operator("sdi.variations", icon="MOD_ARRAY").job = name


CLASSES = (SDI_PT_texture,)
