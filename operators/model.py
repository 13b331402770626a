"""Choose the 2D model and its LoRAs. A file that cannot be used is refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..jobs.models import check_lora, examine_piece, inspect
from ..sdi_engine.diffusion.location import model_name
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.untrusted import printable
from ..state import preferences, properties
from ..state.current import session


class SDI_OT_set_model(bpy.types.Operator):
    """Make the next object with this model"""

    bl_idname = "sdi.set_model"
    bl_label = "Use Model"
    bl_options = {"UNDO", "INTERNAL"}

    model: StringProperty(
        name="Model", description='"starter", a folder, a .safetensors file or a hub id', options={"SKIP_SAVE"}
    )  # type: ignore[valid-type]

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        return f"Make the next object with {properties.model}"

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _set_model(self, context, self.model)


class SDI_OT_choose_model(bpy.types.Operator):
    """Choose a model's file: with everything in it, or its denoiser alone"""

    bl_idname = "sdi.choose_model"
    bl_label = "Choose Model File"
    bl_options = {"UNDO", "INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_glob: StringProperty(default="*.safetensors;*.sft;*.gguf", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.filepath = self.filepath or _start(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _set_model(self, context, self.filepath)


class SDI_OT_choose_model_folder(bpy.types.Operator):
    """Choose a folder in Diffusers layout: open the folder that contains model_index.json, and accept"""

    bl_idname = "sdi.choose_model_folder"
    bl_label = "Choose Model Folder"
    bl_options = {"UNDO", "INTERNAL"}

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_glob: StringProperty(default="model_index.json", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.directory = self.directory or _start(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _set_model(self, context, str(Path(bpy.path.abspath(self.directory))))


class SDI_OT_add_lora(bpy.types.Operator):
    """Choose a .safetensors file with a LoRA, which changes the model's style or teaches it something new"""

    bl_idname = "sdi.add_lora"
    bl_label = "Add LoRA"
    bl_options = {"UNDO", "INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_glob: StringProperty(default="*.safetensors;*.sft", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.filepath = self.filepath or _start(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        file = Path(properties.as_engine_finds(self.filepath))
        try:
            check_lora(file)
        except EngineError as error:
            self.report({"ERROR"}, printable(str(error)))
            return {"CANCELLED"}
        settings = context.scene.sdi
        settings.loras.add().file = str(file)
        settings.lora_index = len(settings.loras) - 1
        return {"FINISHED"}


class SDI_OT_add_part(bpy.types.Operator):
    """Choose a file with a VAE or a text encoder, for a model without one, or instead of its own"""

    bl_idname = "sdi.add_part"
    bl_label = "Add Part"
    bl_options = {"UNDO", "INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_glob: StringProperty(default="*.safetensors;*.sft", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.filepath:
            return self.execute(context)
        self.filepath = _start(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            piece = examine_piece(Path(properties.as_engine_finds(self.filepath)))
        except EngineError as error:
            self.report({"ERROR"}, printable(str(error)))
            return {"CANCELLED"}
        except OSError as error:
            self.report({"ERROR"}, printable(f'The file "{self.filepath}" cannot be read ({error.strerror}).'))
            return {"CANCELLED"}
        settings = context.scene.sdi
        if piece.network is None:
            settings.loras.add().file = piece.file
            settings.lora_index = len(settings.loras) - 1
        elif piece.network.is_vae:
            settings.vae = piece.file
        elif piece.network.is_tiny_vae:
            settings.tiny_vae = piece.file
        else:
            others = [path.strip() for path in settings.text_encoders.split(properties.SEPARATOR)]
            others = [path for path in others if path not in ("", piece.file)]
            settings.text_encoders = f"{properties.SEPARATOR} ".join([*others, piece.file])
        return {"FINISHED"}


class SDI_OT_remove_lora(bpy.types.Operator):
    """Remove the selected LoRA from the list; its file stays"""

    bl_idname = "sdi.remove_lora"
    bl_label = "Remove LoRA"
    bl_options = {"UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        settings = context.scene.sdi
        if settings.lora_index >= len(settings.loras):
            cls.poll_message_set("No LoRA is selected in the list" if settings.loras else "The list has no LoRA")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.sdi
        settings.loras.remove(settings.lora_index)
        settings.lora_index = max(0, min(settings.lora_index, len(settings.loras) - 1))
        return {"FINISHED"}


def _set_model(operator: bpy.types.Operator, context: bpy.types.Context, model: str) -> set[str]:
    model = properties.as_engine_finds(model_name(model))
    try:
        found = inspect(model)
    except EngineError as error:
        operator.report({"ERROR"}, printable(str(error)))
        return {"CANCELLED"}
    session().models.remember(model, found)
    context.scene.sdi.model = model
    return {"FINISHED"}


def _start(context: bpy.types.Context) -> str:
    """Where the file browser opens: the person's own folder of models, or empty for Blender's choice."""
    folder = preferences.model_folder(context)
    return f"{folder}{os.sep}" if folder else ""


CLASSES = (
    SDI_OT_set_model,
    SDI_OT_choose_model,
    SDI_OT_choose_model_folder,
    SDI_OT_add_lora,
    SDI_OT_add_part,
    SDI_OT_remove_lora,
)
