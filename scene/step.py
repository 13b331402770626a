"""The undo step of a result that comes into the scene.

It is an operator's, since Blender then no longer shows the settings of the person's last operation in the viewport's
corner. To change one there goes back to before that operation, and the result, which came later, would be lost.
"""

from __future__ import annotations

import bpy


class SDI_OT_step(bpy.types.Operator):
    """Marks the arrival of a result in the undo history"""

    bl_idname = "sdi.step"
    bl_label = "Result from Text"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return {"FINISHED"}


CLASSES = (SDI_OT_step,)


def push() -> None:
    """Make an undo step of what has changed."""
    before = _last()
    bpy.ops.sdi.step("EXEC_DEFAULT", True)
    if _last() == before:  # within another operator it makes none
        bpy.ops.ed.undo_push(message=SDI_OT_step.bl_label)


def _last() -> int:
    """The address of the operator that Blender has noted last; 0 if there is none."""
    noted = bpy.context.window_manager.operators
    return noted[-1].as_pointer() if noted else 0
