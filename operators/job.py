"""What can be done with the job that the panel shows."""

from __future__ import annotations

from typing import ClassVar

import bpy
from bpy.props import EnumProperty

from .. import preferences, session
from ..sdi_engine import events
from ..sdi_engine.errors import EngineError


class _JobOperator:
    """Needs a job whose state is one of `states`; `otherwise` says so where there is none."""

    states: ClassVar[tuple[str, ...]] = events.STATES
    otherwise: ClassVar[str] = "There is no job"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.job is None or session.job.state not in cls.states:
            cls.poll_message_set(cls.otherwise)  # type: ignore[attr-defined]
            return False
        return True


class SDI_OT_cancel_job(_JobOperator, bpy.types.Operator):
    """Stop the job; what it has reached is kept, and can be resumed"""

    bl_idname = "sdi.cancel_job"
    bl_label = "Cancel"
    states = tuple(state for state in events.STATES if state not in events.FINAL_STATES)
    otherwise = "No job is running"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.job is not None and session.job.is_cancelling and not session.job.is_over:
            cls.poll_message_set("The job is being cancelled already")
            return False
        return super().poll(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session.cancel()
        except EngineError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class SDI_OT_resume_job(_JobOperator, bpy.types.Operator):
    """Go on with the job from where it was"""

    bl_idname = "sdi.resume_job"
    bl_label = "Resume"
    states = (events.CANCELLED, events.FAILED)
    otherwise = "No job has failed or been cancelled"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session.resume(preferences.engine(context))
        except EngineError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class SDI_OT_dismiss_job(_JobOperator, bpy.types.Operator):
    """Show this job no longer; its folder stays in the results folder"""

    bl_idname = "sdi.dismiss_job"
    bl_label = "Dismiss"
    states = events.FINAL_STATES
    otherwise = "No job is over"

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.dismiss()
        return {"FINISHED"}


class SDI_OT_import_result(_JobOperator, bpy.types.Operator):
    """Put the finished object into the scene that is open"""

    bl_idname = "sdi.import_result"
    bl_label = "Put into Scene"
    states = (events.DONE,)
    otherwise = "No object is ready"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if context.mode != "OBJECT":
            cls.poll_message_set("Leave this mode for Object Mode first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        if session.import_now(context) is None:
            self.report({"ERROR"}, session.complaint)
            return {"CANCELLED"}
        return {"FINISHED"}


class SDI_OT_open_job(_JobOperator, bpy.types.Operator):
    """Open what the job has written, in the program that this computer uses for it"""

    bl_idname = "sdi.open_job"
    bl_label = "Open"

    what: EnumProperty(
        name="What",
        items=[
            ("LOG", "Log", "Everything that the engine printed"),
            ("FOLDER", "Folder", "The job's folder: mesh, previews, settings, log"),
        ],
    )  # type: ignore[valid-type]

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        if properties.what == "LOG":
            return "Read everything that the engine printed"
        return "Open the job's folder: mesh, previews, settings, log"

    def execute(self, context: bpy.types.Context) -> set[str]:
        assert session.job is not None
        folder = session.job.folder
        path = folder.log_file if self.what == "LOG" else folder.path
        if not path.exists():
            self.report({"ERROR"}, f'"{path}" does not exist: the engine has not started, or the folder was removed.')
            return {"CANCELLED"}
        return bpy.ops.wm.path_open(filepath=str(path))


CLASSES = (
    SDI_OT_cancel_job,
    SDI_OT_resume_job,
    SDI_OT_dismiss_job,
    SDI_OT_import_result,
    SDI_OT_open_job,
)
