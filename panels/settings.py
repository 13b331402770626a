"""The settings: the few that everybody needs, and the others in a closed subpanel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy

from ..sdi_engine.config.parameters import PARAMETERS, STARTER_MODEL, Parameter, Section
from ..sdi_engine.diffusion.location import REAL_MODEL
from ..state import properties
from ..state.current import session
from .tab import Tab
from .text import wrapped_label

if TYPE_CHECKING:
    from ..jobs.models import Model

_PROMPT_LINES = 3
_UNKNOWN_LINES = 6
_PLACEHOLDER = "What to make, e.g. a red mug"
_LONGEST_LABEL = 60
_POPOVER_UNITS = 22
_UNIT_PIXELS = 20


def draw_settings(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Draw prompt, model, quality, seed and size."""
    draw_prompt(layout, context.scene.sdi)
    _draw_basics(layout, context)


def draw_in_dialog(layout: bpy.types.UILayout, context: bpy.types.Context, width: float) -> None:
    """Draw the same in a dialog of `width` pixels (at a UI scale of 1), with the text cursor in the prompt."""
    column = layout.column()
    column.activate_init = True
    column.prop(context.scene.sdi, "prompt", text="", placeholder=_PLACEHOLDER)
    _draw_basics(layout, context, width)


def _draw_basics(layout: bpy.types.UILayout, context: bpy.types.Context, width: float | None = None) -> None:
    settings = context.scene.sdi
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    for parameter in _shown_in("basic"):
        row = column.row(align=True)
        row.prop(settings, parameter.prop)
        if parameter.name == "model":
            row.menu("SDI_MT_models", text="", icon="DOWNARROW_HLT")
            _draw_about_model(column, context, width)
        elif parameter.name == "preset":
            _draw_time(column, context)
        elif parameter.name == "seed":
            row.operator("sdi.random_seed", text="", icon="FILE_REFRESH")


def _draw_time(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What the object will take on this machine, where runs of its kind were made here before."""
    text = session().models.time_for(context.scene)
    if text:
        row = layout.row()
        row.active = False
        row.label(text=text, icon="TIME")


def draw_prompt(layout: bpy.types.UILayout, settings: properties.SDI_PG_settings) -> None:
    """Draw the prompt in a field of several lines if Blender has one (from 5.2), else of one line."""
    if "textbox" in bpy.types.UILayout.bl_rna.functions:
        layout.textbox(settings, "prompt", initial_visible_lines=_PROMPT_LINES, placeholder=_PLACEHOLDER)
    else:
        layout.prop(settings, "prompt", text="", placeholder=_PLACEHOLDER)


class SDI_MT_models(bpy.types.Menu):
    """Models on this computer, and recently used ones"""

    bl_idname = "SDI_MT_models"
    bl_label = "Models"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        models = session().models.found
        _entry(layout, STARTER_MODEL, "Starter Prior (comes with the extension)", "SHADERFX")
        _entry(layout, REAL_MODEL, session().models.label_of(REAL_MODEL, "Stable Diffusion 2.1 base"), "WORLD")
        _section(layout, "Recently Used", models.recent)
        _section(layout, "On This Computer", models.cached)
        _section(layout, "Model Folder", models.in_folder)
        layout.separator()
        layout.operator("sdi.choose_model", text="Choose File…", icon="FILE")
        layout.operator("sdi.choose_model_folder", text="Choose Folder…", icon="FILE_FOLDER")
        session().models.refresh_if_old(context)  # in a thread; the menu shows the result when it is opened again


class SDI_MT_pieces(bpy.types.Menu):
    """VAEs, text encoders and LoRAs in the model folder"""

    bl_idname = "SDI_MT_pieces"
    bl_label = "VAEs, Text Encoders and LoRAs"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        for piece in session().models.found.pieces:
            entry = layout.operator("sdi.add_part", text=_shortened(piece.label), translate=False)
            entry.filepath = piece.file
        layout.separator()
        layout.operator("sdi.add_part", text="Choose File…", icon="FILE")
        session().models.refresh_if_old(context)


class SDI_UL_loras(bpy.types.UIList):
    """LoRAs with their weights"""

    bl_idname = "SDI_UL_loras"

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: object,
        item: properties.SDI_PG_lora,
        icon: int,
        active_data: object,
        active_property: str,
        index: int,
    ) -> None:
        row = layout.row(align=True)
        row.prop(item, "use", text="")
        name = row.row()
        name.active = item.use
        if item.file:
            name.label(text=bpy.path.display_name_from_filepath(item.file), translate=False)
        else:
            name.label(text="no file")
        weight = row.row()
        weight.active = item.use
        weight.scale_x = 0.6
        weight.prop(item, "weight", text="", emboss=False)


class SDI_PT_advanced(Tab, bpy.types.Panel):
    """Settings that preset and model choose well by themselves"""

    bl_idname = "SDI_PT_advanced"
    bl_label = "Advanced"
    bl_parent_id = "SDI_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.sdi
        _draw_loras(layout, settings)
        _draw_parts(layout, settings)
        layout.use_property_split = True
        layout.use_property_decorate = False
        for section in ("optimisation", "mesh", "device"):
            column = layout.column()
            if section == "device":
                column.prop(settings, "live")
            for parameter in _shown_in(section):
                _draw_setting(column, settings, parameter)


class SDI_PT_vocabulary(bpy.types.Panel):
    """All words that a model with a small vocabulary knows, in a popover"""

    bl_idname = "SDI_PT_vocabulary"
    bl_label = "What This Model Knows"
    bl_space_type = "VIEW_3D"
    bl_region_type = "WINDOW"
    bl_options = {"INSTANCED"}
    bl_ui_units_x = _POPOVER_UNITS

    def draw(self, context: bpy.types.Context) -> None:
        knows = session().models.vocabulary_of(properties.model_of(context.scene.sdi))
        for kind, phrases in knows.items():
            self.layout.label(text=kind.capitalize())
            width = _POPOVER_UNITS * _UNIT_PIXELS
            wrapped_label(self.layout, context, ", ".join(phrases), "BLANK1", width=width)


def _shown_in(section: Section) -> list[Parameter]:
    return [parameter for parameter in PARAMETERS.values() if parameter.section == section]


def _draw_setting(column: bpy.types.UILayout, settings: properties.SDI_PG_settings, parameter: Parameter) -> None:
    """Draw a row for a setting; one with a switch has a checkbox before its value."""
    if not parameter.switch:
        column.prop(settings, parameter.prop)
        return
    row = column.row(heading=parameter.label)
    row.prop(settings, parameter.switch, text="")
    value = row.row()
    value.active = getattr(settings, parameter.switch)
    value.prop(settings, parameter.prop, text="")


def _draw_about_model(layout: bpy.types.UILayout, context: bpy.types.Context, width: float | None) -> None:
    settings = context.scene.sdi
    model = properties.model_of(settings)
    known = session().models.about(model)
    if not known:
        return
    column = layout.column()
    if session().models.is_refused(model):
        column.alert = True
        wrapped_label(column, context, known, "ERROR", width=width)
    else:
        column.active = False
        wrapped_label(column, context, known, width=width)
        device = session().engine_setup.device_of(settings.device)
        needs = session().models.needs(model, properties.asked_of(context.scene), *device)
        if needs:
            wrapped_label(column, context, needs, width=width)
        trouble = session().models.trouble_with(model)
        if trouble:
            missing = layout.column()
            missing.alert = True
            wrapped_label(missing, context, trouble, "ERROR", width=width)
    unknown = session().models.unknown_words(model, settings.prompt)
    if unknown:
        wrapped_label(layout, context, unknown, "INFO", lines=_UNKNOWN_LINES, width=width)
        layout.popover("SDI_PT_vocabulary")


def _draw_loras(layout: bpy.types.UILayout, settings: properties.SDI_PG_settings) -> None:
    layout.label(text="LoRAs")
    row = layout.row()
    row.template_list(
        "SDI_UL_loras", "", settings, "loras", settings, "lora_index", rows=2, maxrows=4, item_dyntip_propname="file"
    )
    buttons = row.column(align=True)
    buttons.operator("sdi.add_lora", text="", icon="ADD")
    buttons.operator("sdi.remove_lora", text="", icon="REMOVE")


def _draw_parts(layout: bpy.types.UILayout, settings: properties.SDI_PG_settings) -> None:
    row = layout.row(align=True)
    row.label(text="VAE and Text Encoders")
    row.menu("SDI_MT_pieces", text="", icon="DOWNARROW_HLT")
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    for parameter in _shown_in("parts"):
        otherwise = "None" if parameter.name == "tiny_vae" else "Automatic"
        column.prop(settings, parameter.prop, placeholder=otherwise)


def _section(layout: bpy.types.UILayout, title: str, models: tuple[Model, ...]) -> None:
    if not models:
        return
    layout.separator()
    layout.label(text=title)
    for found in models:
        _entry(layout, found.model, found.label)


def _entry(layout: bpy.types.UILayout, model: str, text: str, icon: str = "NONE") -> None:
    layout.operator("sdi.set_model", text=_shortened(text), icon=icon, translate=False).model = model


def _shortened(text: str) -> str:
    """A long name without its middle, since its end has kind and size."""
    if len(text) <= _LONGEST_LABEL:
        return text
    half = _LONGEST_LABEL // 2
    return f"{text[:half]}…{text[-half:]}"


CLASSES = (SDI_MT_models, SDI_MT_pieces, SDI_UL_loras, SDI_PT_advanced, SDI_PT_vocabulary)
