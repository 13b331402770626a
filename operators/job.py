"""Operators on a job: the one that the panel shows, or one in the list."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from ..jobs.job import Job
from ..jobs.library import Entry
from ..scene import destination
from ..sdi_engine.contract import events
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.files import is_link
from ..state import job_list
from ..state.current import session
from .generate import NO_LONGER_THERE, refuse

_UNFINISHED = tuple(state for state in events.STATES if state not in events.FINAL_STATES)


class _JobOperator:
    """Base of operators on the job named `job`, or on the one in the panel; `otherwise` says why it is not possible."""

    states: ClassVar[tuple[str, ...]] = events.STATES
    otherwise: ClassVar[str] = "There is no job"

    job: StringProperty(
        name="Job", description="Name of the job's folder; empty for the one shown", options={"HIDDEN", "SKIP_SAVE"}
    )  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session().display.job is None and not job_list.chosen():
            cls.poll_message_set("There is no job")  # type: ignore[attr-defined]
            return False
        if any(state in cls.states for state in _states_in_reach()):
            return True
        cls.poll_message_set(cls.otherwise)  # type: ignore[attr-defined]
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        damaged = session().desks.entry(self.job) if self.job else None
        if damaged is not None and damaged.trouble:
            return self.do_to_damaged(context, damaged)
        found = session().find(context, self.job) if self.job else session().display.job
        if found is None:
            session().watcher.refresh_library()  # its row is a ghost
            return refuse(self, NO_LONGER_THERE)  # type: ignore[arg-type]
        if found.state not in self.states:
            return refuse(self, f"{self.otherwise}.")  # type: ignore[arg-type]
        try:
            return self.do(context, found)
        except EngineError as error:
            return refuse(self, str(error))  # type: ignore[arg-type]

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        raise NotImplementedError

    def do_to_damaged(self, context: bpy.types.Context, entry: Entry) -> set[str]:
        return refuse(self, entry.trouble)  # type: ignore[arg-type]


def _states_in_reach() -> list[str]:
    """The states of the job in the panel and of the one selected in the list."""
    shown = [session().display.job.state] if session().display.job is not None else []
    chosen = job_list.chosen()
    return shown + ([session().state_of(chosen)] if chosen else [])


class SDI_OT_cancel_job(_JobOperator, bpy.types.Operator):
    """Stop the job; its progress is kept, and it can be resumed"""

    bl_idname = "sdi.cancel_job"
    bl_label = "Cancel"
    states = _UNFINISHED
    otherwise = "This job is not running"

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        session().cancel(context, found)
        return {"FINISHED"}


class SDI_OT_pause_job(_JobOperator, bpy.types.Operator):
    """Stop this job for now; if no other is being made, the graphics card's memory is freed, for example to render. \
Resume continues from here"""

    bl_idname = "sdi.pause_job"
    bl_label = "Pause"
    states = _UNFINISHED
    otherwise = "This job is not running"

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        session().pause(context, found)
        return {"FINISHED"}


class SDI_OT_finish_job(_JobOperator, bpy.types.Operator):
    """Stop optimising and make the mesh from the current state: it is good enough"""

    bl_idname = "sdi.finish_job"
    bl_label = "Take It Now"
    states = (events.RUNNING,)
    otherwise = "This job is not being optimised right now"

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        found.finish()
        return {"FINISHED"}


class SDI_OT_resume_job(_JobOperator, bpy.types.Operator):
    """Continue the job from where it was stopped"""

    bl_idname = "sdi.resume_job"
    bl_label = "Resume"
    states = (events.CANCELLED, events.FAILED, events.PAUSED)
    otherwise = "Only a job that was stopped or has failed can be resumed"

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        if not found.is_resumable and found.failure is not None:
            return refuse(self, found.failure.message)
        session().display.complain("")
        session().resume(context, found)
        return {"FINISHED"}


class SDI_OT_run_job_here(_JobOperator, bpy.types.Operator):
    """Run this job, which another computer or person has queued, on this computer"""

    bl_idname = "sdi.run_job_here"
    bl_label = "Run Here"
    states = (events.QUEUED,)
    otherwise = "This job is not waiting in the queue"

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        if session().desks.waits_from(found.name) is None:
            return refuse(self, "This job is already waiting for the engine on this computer.")
        session().run_here(context, found)
        return {"FINISHED"}


class SDI_OT_dismiss_job(bpy.types.Operator):
    """Hide this job here; its folder stays, and so does its entry in the list"""

    bl_idname = "sdi.dismiss_job"
    bl_label = "Dismiss"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session().display.job is None or not session().display.job.is_over:
            cls.poll_message_set("No job has ended")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        session().dismiss()
        return {"FINISHED"}


class SDI_OT_import_result(_JobOperator, bpy.types.Operator):
    """Import the finished object into the current scene, or put the finished texture onto its object, or, if that is \
not in this file, onto the active one"""

    bl_idname = "sdi.import_result"
    bl_label = "Put into Scene"
    states = (events.DONE,)
    otherwise = "This job has no finished object"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if context.mode != "OBJECT":
            cls.poll_message_set("Switch to Object Mode first")
            return False
        if work := destination.work_of_blender():
            cls.poll_message_set(f"Wait until the {work} is done")
            return False
        return True

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        arrivals = session().arrivals
        if found.request.is_of_a_mesh:
            chosen = context.active_object if context.active_object in context.selected_objects else None
            placed = arrivals.put_texture(context, found.name, found.folder, chosen)
        else:
            placed = arrivals.put(context, found.name, found.folder)
        if placed is None:
            return refuse(self, session().arrivals.complaint)
        session().watcher.refresh_library()
        return {"FINISHED"}


class SDI_OT_delete_job(_JobOperator, bpy.types.Operator):
    """Delete the job's folder with its mesh, pictures and settings; objects in your scenes stay"""

    bl_idname = "sdi.delete_job"
    bl_label = "Delete"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Delete this job from the disk?",
            message="Its mesh, pictures and settings are removed for good; objects in your scenes stay.",
            confirm_text="Delete",
            icon="WARNING",
        )

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        session().delete(context, found)
        return {"FINISHED"}

    def do_to_damaged(self, context: bpy.types.Context, entry: Entry) -> set[str]:
        try:
            session().delete_damaged(context, entry.name)
        except EngineError as error:
            return refuse(self, str(error))
        return {"FINISHED"}


class SDI_OT_move_job(_JobOperator, bpy.types.Operator):
    """Move the job up or down in the queue"""

    bl_idname = "sdi.move_job"
    bl_label = "Move in Queue"
    states = (events.QUEUED,)
    otherwise = "This job is not waiting in the queue"

    by: IntProperty(name="By", description="−1 for earlier, 1 for later", default=-1, min=-1, max=1)  # type: ignore[valid-type]

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        return "Move the job " + ("up" if properties.by < 0 else "down") + " in the queue"

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        session().move(context, found, self.by)
        return {"FINISHED"}


class SDI_OT_open_job(_JobOperator, bpy.types.Operator):
    """Open the job's log or folder, with the computer's usual program"""

    bl_idname = "sdi.open_job"
    bl_label = "Open"

    what: EnumProperty(
        name="What",
        description="What to open",
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

    def do(self, context: bpy.types.Context, found: Job) -> set[str]:
        return self.open(found.folder.log_file if self.what == "LOG" else found.folder.path)

    def do_to_damaged(self, context: bpy.types.Context, entry: Entry) -> set[str]:
        return self.open(session().desks.desk(context).results / entry.name)

    def open(self, path: Path) -> set[str]:
        if is_link(path):
            return refuse(self, f'"{path}" is a link: check where it leads before you open it.')
        if not path.exists():
            return refuse(self, f'"{path}" does not exist: the engine has not started, or the folder was removed.')
        return bpy.ops.wm.path_open(filepath=str(path))


class SDI_OT_free_memory(bpy.types.Operator):
    """End the engine, which keeps the model in memory; the next object will then take longer to start"""

    bl_idname = "sdi.free_memory"
    bl_label = "Free Memory"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session().desks.runner is None or session().desks.runner.engine is None:
            cls.poll_message_set("The engine is not running")
            return False
        if session().desks.runner.is_busy:
            cls.poll_message_set("The engine is working: pause or cancel the job to free its memory")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session().desks.desk(context).free_memory()
        except EngineError as error:
            return refuse(self, str(error))
        session().watcher.poll_soon()
        return {"FINISHED"}


class SDI_OT_go_on(bpy.types.Operator):
    """Let the engine take jobs from the queue again"""

    bl_idname = "sdi.go_on"
    bl_label = "Continue"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not any(desk.is_held or desk.trouble for desk in session().desks.all()):
            cls.poll_message_set("The queue is not paused")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session().go_on()
        except EngineError as error:
            return refuse(self, str(error))
        return {"FINISHED"}


class SDI_OT_cancel_waiting(bpy.types.Operator):
    """Remove all waiting jobs from the queue; the running one continues"""

    bl_idname = "sdi.cancel_waiting"
    bl_label = "Empty Queue"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not session().submissions.has_more and not any(desk.waiting for desk in session().desks.all()):
            cls.poll_message_set("No job is waiting in the queue")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session().cancel_waiting()
        except EngineError as error:
            return refuse(self, str(error))
        return {"FINISHED"}


class SDI_OT_add_the_rest(bpy.types.Operator):
    """Try again to add the remaining prompts of the list to the queue"""

    bl_idname = "sdi.add_the_rest"
    bl_label = "Add the Rest"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not session().submissions.has_more:
            cls.poll_message_set("No prompts remain to be added")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session().add_the_rest(context)
        except EngineError as error:
            return refuse(self, str(error))
        return {"FINISHED"}


class SDI_OT_drop_the_rest(bpy.types.Operator):
    """Discard the prompts of the list that are not in the queue yet"""

    bl_idname = "sdi.drop_the_rest"
    bl_label = "Discard the Rest"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return SDI_OT_add_the_rest.poll(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        session().drop_the_rest()
        return {"FINISHED"}


class SDI_OT_refresh_jobs(bpy.types.Operator):
    """Read the list of jobs in the results folder again"""

    bl_idname = "sdi.refresh_jobs"
    bl_label = "Refresh"

    def execute(self, context: bpy.types.Context) -> set[str]:
        session().desks.desk(context)
        session().watcher.refresh_library()
        return {"FINISHED"}


CLASSES = (
    SDI_OT_cancel_job,
    SDI_OT_pause_job,
    SDI_OT_finish_job,
    SDI_OT_resume_job,
    SDI_OT_run_job_here,
    SDI_OT_dismiss_job,
    SDI_OT_import_result,
    SDI_OT_delete_job,
    SDI_OT_move_job,
    SDI_OT_open_job,
    SDI_OT_free_memory,
    SDI_OT_go_on,
    SDI_OT_cancel_waiting,
    SDI_OT_add_the_rest,
    SDI_OT_drop_the_rest,
    SDI_OT_refresh_jobs,
)
