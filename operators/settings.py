"""Help with settings that are tedious to type."""

from __future__ import annotations

import random
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..sdi_engine.request import MAX_SEED


class SDI_OT_random_seed(bpy.types.Operator):
    """Choose another seed, for another object from the same words"""

    bl_idname = "sdi.random_seed"
    bl_label = "Random Seed"
    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.sdi.seed = random.randint(0, MAX_SEED)
        return {"FINISHED"}


class SDI_OT_choose_model(bpy.types.Operator):
    """Choose a .safetensors file, or go into a folder in Diffusers layout and accept it"""

    bl_idname = "sdi.choose_model"
    bl_label = "Choose Model"
    bl_options = {"UNDO", "INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH")  # type: ignore[valid-type]
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_glob: StringProperty(default="*.safetensors", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = Path(self.filepath)
        context.scene.sdi.model = str(path if path.is_file() or path.is_dir() else path.parent)
        return {"FINISHED"}


CLASSES = (SDI_OT_random_seed, SDI_OT_choose_model)
