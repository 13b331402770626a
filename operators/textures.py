"""What file formats want of textures: files for those that cannot contain them, such as OBJ, and the first UV map."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..scene import destination, origin, textures, uv_maps
from ..sdi_engine.errors import BadInputError
from .chosen import path_chosen
from .generate import refuse


class SDI_OT_write_textures(bpy.types.Operator):
    """Write the textures of the selected objects, or of all if none is selected, as files, for formats that cannot \
contain them, such as OBJ"""

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
        try:
            folder = Path(path_chosen(self.directory, "folder"))
            files = textures.write(_chosen(context), folder)
            if not files:
                raise BadInputError("The textures are not packed into this file: they are files already.")
        except BadInputError as error:
            return refuse(self, str(error))
        except FileExistsError as error:
            return refuse(self, f"{error}: choose another folder.")
        except OSError as error:
            return refuse(self, f'"{folder}" cannot be written ({error.strerror or error}): choose another folder.')
        self.report({"INFO"}, f"{len(files)} in {folder}: {', '.join(file.name for file in files)}")
        return {"FINISHED"}


class SDI_OT_put_uv_map_first(bpy.types.Operator):
    """Let the UV map of an object's texture change places with the mesh's first one, which readers of FBX files take"""

    bl_idname = "sdi.put_uv_map_first"
    bl_label = "Put UV Map of Texture First"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not any(map(uv_maps.not_first, _chosen(context))):
            cls.poll_message_set("The textures of this extension are on the first UV maps of their meshes")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        meant = {thing: uv_maps.not_first(thing) for thing in _chosen(context)}
        meant = {thing: name for thing, name in meant.items() if name}
        for thing in meant:
            if not thing.data.is_editable:
                return refuse(self, f'The mesh of "{thing.name}" belongs to another file: make it local first.')
            editor = destination.editor_of(thing)
            if editor is not None:
                return refuse(self, f'"{editor.name}" is not in Object Mode: switch to it first.')
        for thing, name in meant.items():
            uv_maps.put_first(thing.data, name)
        return {"FINISHED"}


def _chosen(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected objects with textures of ours, or all with such if none is selected."""
    ours = [each for each in context.view_layer.objects if origin.has_our_textures(each)]
    return [each for each in ours if each.select_get(view_layer=context.view_layer)] or ours


CLASSES = (SDI_OT_write_textures, SDI_OT_put_uv_map_first)
