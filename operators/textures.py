"""Writes textures as files, for formats that cannot contain them, such as OBJ."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..scene import origin, textures
from ..sdi_engine.errors import BadInputError
from .chosen import path_chosen
from .generate import refuse


class SDI_OT_write_textures(bpy.types.Operator):
    """Write the textures of the selected objects, or of all if none is selected, as files, for use with an OBJ"""

    bl_idname = "sdi.write_textures"
    bl_label = "Write Textures"

    directory: StringProperty(name="Folder", description="Where to write them", subtype="DIR_PATH")  # type: ignore[valid-type]
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not any(origin.has_our_textures(each) for each in context.view_layer.objects):
            cls.poll_message_set("This scene has no object that this extension has made or textured")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        ours = [each for each in context.view_layer.objects if origin.has_our_textures(each)]
        chosen = [each for each in ours if each.select_get(view_layer=context.view_layer)] or ours
        try:
            folder = Path(path_chosen(self.directory, "folder"))
            files = textures.write(chosen, folder)
        except BadInputError as error:
            return refuse(self, str(error))
        except FileExistsError as error:
            return refuse(self, f"{error}: choose another folder.")
        except OSError as error:
            return refuse(self, f'"{folder}" cannot be written ({error.strerror or error}): choose another folder.')
        self.report({"INFO"}, f"{len(files)} in {folder}: {', '.join(file.name for file in files)}")
        return {"FINISHED"}


CLASSES = (SDI_OT_write_textures,)
