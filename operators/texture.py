"""Texture and Refine Shape: each queues a job for each selected mesh, whose result comes onto the object; and the looks
of objects."""

from __future__ import annotations

from typing import ClassVar

import bpy
from bpy.props import FloatProperty, IntProperty

from ..jobs import words
from ..scene import destination, looks, refined_shape
from ..scene.importer import ImportFailedError
from ..scene.source_mesh import check
from ..sdi_engine.config.parameters import PARAMETERS, Task
from ..sdi_engine.diffusion.distilled import check_noise
from ..sdi_engine.errors import EngineError
from ..state import properties
from ..state.current import session
from . import texture_jobs
from .clicks import PressedOnce
from .generate import refuse


def chosen(context: bpy.types.Context) -> list[bpy.types.Object]:
    """What jobs are for: the objects in Edit Mode, or else the selected ones; only the meshes if there are any."""
    things = context.objects_in_mode_unique_data if context.mode == "EDIT_MESH" else context.selected_objects
    return [thing for thing in things if thing.type == "MESH"] or list(things)


class _OfMeshes:
    """Base of operators that queue a job about each selected mesh; `task` is the jobs'."""

    task: ClassVar[Task]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        things = chosen(context)
        reason = next(filter(None, map(check, things)), "") if things else "Select one or more mesh objects"
        work = destination.work_of_blender()
        reason = reason or (f"Wait until the {work} is done" if work else "")
        if reason:
            cls.poll_message_set(reason.removesuffix("."))  # type: ignore[attr-defined]
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        session().display.complain("")
        try:
            asked = properties.request_from(context.scene, task=self.task)
            check_noise(asked.noise, asked.model)  # before a person looks for the parts of a model that will not do
            notices = texture_jobs.start(context, session().models.completed(asked), chosen(context))
        except (EngineError, ImportFailedError) as error:
            return refuse(self, str(error))  # type: ignore[arg-type]
        for notice in notices:
            self.report({"INFO"}, notice)  # type: ignore[attr-defined]
        return {"FINISHED"}


class SDI_OT_texture(PressedOnce, _OfMeshes, bpy.types.Operator):
    """Make a new material for each selected mesh from the prompt, on the mesh's active UV map, or on a new one if \
that cannot hold a texture; its materials of before stay in the file"""

    bl_idname = "sdi.texture"
    bl_label = "Texture"
    task = "texture"


class SDI_OT_refine(PressedOnce, _OfMeshes, bpy.types.Operator):
    """Make a new material for each selected mesh from the prompt, and a shape that fits it: a shape key, whose slider \
goes back to the shape of before. No point moves farther than Max Move says"""

    bl_idname = "sdi.refine"
    bl_label = "Refine Shape"
    task = "refine"


class _OfLooks:
    """Needs an object with looks, in Object Mode."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Switch to Object Mode first")  # type: ignore[attr-defined]
            return False
        if not _with_looks(context):
            reasons = (check(thing) for thing in context.selected_objects if looks.of(thing))
            cls.poll_message_set(  # type: ignore[attr-defined]
                next(reasons, "Select an object that has a texture of this extension").removesuffix(".")
            )
            return False
        return True


def _with_looks(context: bpy.types.Context) -> list[bpy.types.Object]:
    return [thing for thing in context.selected_objects if looks.of(thing) and not check(thing)]


def _show(operator: bpy.types.Operator, thing: bpy.types.Object, index: int) -> None:
    if looks.show(thing, index):
        operator.report({"INFO"}, looks.OWN_MESH.format(thing.name))


class SDI_OT_restore_materials(_OfLooks, bpy.types.Operator):
    """Give the selected objects the materials that they had before they were textured, or the newest texture again"""

    bl_idname = "sdi.restore_materials"
    bl_label = "Restore Materials"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        things = _with_looks(context)
        is_textured = any(looks.shown(thing) != looks.before(thing) for thing in things)
        for thing in things:
            _show(self, thing, looks.before(thing) if is_textured else looks.last_of_ours(thing))
        return {"FINISHED"}


class _OfOneLook(_OfLooks):
    """Base of operators on one look of the active object."""

    index: IntProperty(name="Look", description="Its number in the list, from 0", min=0, options={"HIDDEN"})  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        thing = context.active_object
        if thing not in _with_looks(context) or self.index >= len(looks.of(thing)):
            return refuse(self, "The active object has no such look: select the object.")  # type: ignore[arg-type]
        return self.do(thing)

    def do(self, thing: bpy.types.Object) -> set[str]:
        raise NotImplementedError


class SDI_OT_show_look(_OfOneLook, bpy.types.Operator):
    """Give the active object the materials of this look"""

    bl_idname = "sdi.show_look"
    bl_label = "Show Look"
    bl_options = {"REGISTER", "UNDO"}

    def do(self, thing: bpy.types.Object) -> set[str]:
        _show(self, thing, self.index)
        return {"FINISHED"}


class SDI_OT_remove_look(_OfOneLook, bpy.types.Operator):
    """Remove this look from the object, and the shape key that came with it; its job stays in Queue and History"""

    bl_idname = "sdi.remove_look"
    bl_label = "Remove Look"
    bl_options = {"REGISTER", "UNDO"}

    def do(self, thing: bpy.types.Object) -> set[str]:
        if self.index == looks.before(thing):
            return refuse(self, "The materials of before are not removed: show another look, and delete them there.")
        if self.index == looks.shown(thing):
            _show(self, thing, looks.before(thing))
        refined_shape.take_off(thing, thing.sdi_looks[self.index].shape)
        looks.remove(thing, self.index)
        return {"FINISHED"}


class SDI_OT_set_front(bpy.types.Operator):
    """Tell where the object's front is"""

    bl_idname = "sdi.set_front"
    bl_label = "Front"
    bl_options = {"UNDO", "INTERNAL"}

    front: FloatProperty(name="Front", description="In degrees about Z from −Y", options={"HIDDEN"})  # type: ignore[valid-type]

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        faces = next((where for where, degrees in words.FRONTS.items() if degrees == properties.front), "another way")
        return f"The object's front faces {faces}"

    def execute(self, context: bpy.types.Context) -> set[str]:
        limits = PARAMETERS["front"].limits
        assert limits is not None
        if not limits.low <= self.front <= limits.high:  # which also refuses NaN
            return refuse(self, f"The front must be between {limits.low:g} and {limits.high:g} degrees.")
        context.scene.sdi.front = self.front
        return {"FINISHED"}


CLASSES = (
    SDI_OT_texture,
    SDI_OT_refine,
    SDI_OT_restore_materials,
    SDI_OT_show_look,
    SDI_OT_remove_look,
    SDI_OT_set_front,
)
