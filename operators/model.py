"""Choose the 2D model and its LoRAs. A file that cannot be used is refused at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..jobs.models import check_lora, examine_piece, inspect
from ..sdi_engine.diffusion.location import model_name
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.untrusted import printable
from ..state import preferences, properties
from ..state.current import session
from .chosen import path_chosen


class _WithFile:
    """An operator on a file, for which the file browser asks where none is given."""

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.filepath:
            return self.execute(context)
        self.filepath = _start(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _done(self, lambda: self.take(context, path_chosen(self.filepath)))

    def take(self, context: bpy.types.Context, path: str) -> None:
        """Do what the operator does with the file; raises EngineError where it cannot be used."""
        raise NotImplementedError


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
        return _done(self, lambda: _set_model(context, self.model))


class SDI_OT_choose_model(_WithFile, bpy.types.Operator):
    """Choose a model's file: with everything in it, or its denoiser alone"""

    bl_idname = "sdi.choose_model"
    bl_label = "Choose Model File"
    bl_options = {"UNDO", "INTERNAL"}

    filter_glob: StringProperty(default="*.safetensors;*.sft;*.gguf", options={"HIDDEN"})  # type: ignore[valid-type]

    def take(self, context: bpy.types.Context, path: str) -> None:
        _set_model(context, path)


class SDI_OT_choose_model_folder(bpy.types.Operator):
    """Open the folder of a model in Diffusers layout (with model_index.json), or of a transformer alone, and accept"""

    bl_idname = "sdi.choose_model_folder"
    bl_label = "Choose Model Folder"
    bl_options = {"UNDO", "INTERNAL"}

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_glob: StringProperty(default="model_index.json;config.json", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.directory = self.directory or _start(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return _done(self, lambda: _set_model(context, str(Path(path_chosen(self.directory, "folder")))))


class SDI_OT_add_lora(_WithFile, bpy.types.Operator):
    """Choose a .safetensors file with a LoRA, which changes the model's style or teaches it something new"""

    bl_idname = "sdi.add_lora"
    bl_label = "Add LoRA"
    bl_options = {"UNDO", "INTERNAL"}

    filter_glob: StringProperty(default="*.safetensors;*.sft", options={"HIDDEN"})  # type: ignore[valid-type]

    def take(self, context: bpy.types.Context, path: str) -> None:
        file = Path(path)
        check_lora(file)
        _add_lora(context, str(file))


class SDI_OT_add_part(_WithFile, bpy.types.Operator):
    """Choose a file with a VAE or a text encoder, for a model without one, or instead of its own"""

    bl_idname = "sdi.add_part"
    bl_label = "Add Part"
    bl_options = {"UNDO", "INTERNAL"}

    filter_glob: StringProperty(default="*.safetensors;*.sft", options={"HIDDEN"})  # type: ignore[valid-type]

    def take(self, context: bpy.types.Context, path: str) -> None:
        piece = examine_piece(Path(path))
        settings = context.scene.sdi
        if piece.network is None:
            _add_lora(context, piece.file)
        elif piece.network.is_vae:
            settings.vae = piece.file
        elif piece.network.is_tiny_vae:
            settings.tiny_vae = piece.file
        else:
            others = [path.strip() for path in settings.text_encoders.split(properties.SEPARATOR)]
            others = [path for path in others if path not in ("", piece.file)]
            settings.text_encoders = f"{properties.SEPARATOR} ".join([*others, piece.file])


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


def _done(operator: bpy.types.Operator, work: Callable[[], None]) -> set[str]:
    """Do an operator's work; what cannot be used is reported."""
    try:
        work()
    except EngineError as error:
        operator.report({"ERROR"}, printable(str(error)))
        return {"CANCELLED"}
    return {"FINISHED"}


def _set_model(context: bpy.types.Context, model: str) -> None:
    model = properties.as_engine_finds(model_name(model))
    session().models.remember(model, inspect(model))
    context.scene.sdi.model = model


def _add_lora(context: bpy.types.Context, file: str) -> None:
    settings = context.scene.sdi
    settings.loras.add().file = file
    settings.lora_index = len(settings.loras) - 1


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
