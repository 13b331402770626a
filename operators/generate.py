"""Generate: turns the panel's settings into a job in the queue, or, in the background, into the object itself."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import bpy
from bpy.props import IntProperty, StringProperty

from ..console.generate import generate_and_wait
from ..jobs.job import Job
from ..jobs.prompts import read_prompts
from ..jobs.seeds import UnusedSeeds
from ..scene.importer import ImportFailedError
from ..sdi_engine.config.parameters import MAX_SEED, following_seed
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.diffusion.distilled import check_noise
from ..sdi_engine.diffusion.model_index import check_prompt, check_prompts
from ..sdi_engine.errors import BadInputError, EngineError
from ..sdi_engine.system.untrusted import printable
from ..state import job_list, preferences, properties
from ..state.current import session
from .chosen import path_chosen
from .clicks import PressedOnce
from .texture_jobs import start_variations


def submit(operator: bpy.types.Operator, context: bpy.types.Context, requests: list[JobRequest]) -> set[str]:
    """Queue jobs, whose objects will stand in a row from the 3D cursor on; returns the operator's result."""
    session().display.complain("")
    if context.scene.library is not None:
        return refuse(
            operator,
            f'The scene "{context.scene.name}" is linked from another file and cannot be changed: '
            "show a scene of this file, or make one.",
        )
    where = session().arrivals.placements_at_cursor(context, [request.height for request in requests])
    try:
        for model in dict.fromkeys(request.model for request in requests):
            check_prompts([request.prompt for request in requests if request.model == model], model)
        for noise, model in dict.fromkeys((request.noise, request.model) for request in requests):
            check_noise(noise, model)  # before a person looks for the parts of a model that will not do
        requests = [session().models.completed(request) for request in requests]
        if bpy.app.background:
            desk, engine = session().desks.desk(context), preferences.engine(context)
            for request, placement in zip(requests, where, strict=True):
                generate_and_wait(context, request, desk, engine, placement)
        else:
            session().start(context, requests, where, context.scene.sdi.live)
    except (EngineError, ImportFailedError) as error:
        return refuse(operator, str(error))
    return {"FINISHED"}


def refuse(operator: bpy.types.Operator, sentence: str) -> set[str]:
    """Show why something is refused, in the panel and as a report; returns the operator's result."""
    session().display.complain(sentence)
    operator.report({"ERROR"}, printable(sentence))  # Blender prints it in the console too
    return {"CANCELLED"}


class Generate:
    """Base of the operators that make an object from the scene's settings."""

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            asked = properties.request_from(context.scene)
        except EngineError as error:
            return refuse(self, str(error))
        if bpy.app.background:  # a script chooses its seeds itself
            return submit(self, context, [asked])
        request = UnusedSeeds(session().is_made).give(asked)
        done = submit(self, context, [request])
        if done == {"FINISHED"} and request.seed != asked.seed:
            context.scene.sdi.seed = request.seed
            self.report({"INFO"}, f"Seed {request.seed} is used, since the object of seed {asked.seed} was made before")
        return done


class SDI_OT_generate(PressedOnce, Generate, bpy.types.Operator):
    """Make an object from the prompt; you can continue to work meanwhile, and queue more"""

    bl_idname = "sdi.generate"
    bl_label = "Generate"


class SDI_OT_generate_from_file(bpy.types.Operator):
    """Make an object from each line of a text file, with the settings above and another seed for each repeated line; \
lines with # are comments"""

    bl_idname = "sdi.generate_from_file"
    bl_label = "Add Prompts from File"

    filepath: StringProperty(subtype="FILE_PATH")  # type: ignore[valid-type]
    filter_glob: StringProperty(default="*.txt", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            prompts = read_prompts(Path(path_chosen(self.filepath)))
            first = properties.request_from(context.scene, prompts[0])
            requests = [dataclasses.replace(first, prompt=prompt).validated() for prompt in prompts]
        except EngineError as error:
            return refuse(self, str(error))
        seeds = UnusedSeeds() if bpy.app.background else UnusedSeeds(session().is_made)
        return submit(self, context, [seeds.give(request) for request in requests])


NO_LONGER_THERE = "This job no longer exists: its folder was deleted or is damaged."


class _FromSource:
    """Base of the operators that take the settings of a job in the list, or of an object of this extension."""

    job: StringProperty(
        name="Job", description="Name of the job's folder; empty for the active object", options={"HIDDEN", "SKIP_SAVE"}
    )  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not job_list.chosen() and not _has_request(context.active_object):
            cls.poll_message_set("Select a job in the list, or an object that this extension has made")  # type: ignore[attr-defined]
            return False
        return True

    def source(self, context: bpy.types.Context) -> tuple[JobRequest, Job | None]:
        """The request of the job or the object, and the job; raises BadInputError if it is damaged or of another
        version."""
        found = session().find(context, self.job) if self.job else None
        if found is not None:
            return found.request, found
        if self.job:  # and not the active object's, which is another one
            damaged = session().desks.entry(self.job)
            session().watcher.refresh_library()  # where its folder is gone, its row is a ghost
            raise BadInputError(damaged.trouble if damaged is not None and damaged.trouble else NO_LONGER_THERE)
        if _has_request(context.active_object):
            return JobRequest.from_json(str(context.active_object["sdi_request"])), None  # a person may have edited it
        raise BadInputError(
            "The active object has no settings to use: select an object that this extension has made, or use the "
            "buttons below the list of jobs."
        )

    def make(self, context: bpy.types.Context, requests: list[JobRequest], found: Job | None) -> set[str]:
        """Queue requests that are a job's but for the seed: objects at the 3D cursor, or textures of the job's mesh."""
        if found is None or not found.request.is_of_a_mesh:
            return submit(self, context, requests)  # type: ignore[arg-type]
        session().display.complain("")
        try:
            start_variations(context, found, requests)
        except EngineError as error:
            return refuse(self, str(error))  # type: ignore[arg-type]
        return {"FINISHED"}


def _has_request(thing: bpy.types.Object | None) -> bool:
    return thing is not None and "sdi_request" in thing


class SDI_OT_variations(_FromSource, bpy.types.Operator):
    """Make the same again with other seeds: other objects from the same prompt, or further textures of an object"""

    bl_idname = "sdi.variations"
    bl_label = "Variations"

    count: IntProperty(name="Count", description="How many objects or textures", default=3, min=1, max=20)  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            request, found = self.source(context)
        except EngineError as error:
            return refuse(self, str(error))
        seeds = random.sample(range(MAX_SEED), self.count)
        return self.make(context, [dataclasses.replace(request, seed=seed) for seed in seeds], found)


class SDI_OT_regenerate(PressedOnce, _FromSource, bpy.types.Operator):
    """Make this object again, with the settings that it was made with"""

    bl_idname = "sdi.regenerate"
    bl_label = "Regenerate"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            request, found = self.source(context)
        except EngineError as error:
            return refuse(self, str(error))
        return self.make(context, [request], found)


class SDI_OT_copy_settings(_FromSource, bpy.types.Operator):
    """Copy the prompt and all settings that this was made with into the panel, to change and generate again"""

    bl_idname = "sdi.copy_settings"
    bl_label = "Copy Settings"
    bl_options = {"UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            properties.apply_request(context.scene, self.source(context)[0])
        except EngineError as error:
            return refuse(self, str(error))
        return {"FINISHED"}


class Preview2D:
    """See in seconds what the 2D model draws for the prompt, with four seeds, before spending minutes on 3D"""

    bl_label = "Preview in 2D"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if bpy.app.background:
            cls.poll_message_set(  # type: ignore[attr-defined]
                "There is no window to show pictures in: run `python -m sdi_engine sample`"
            )
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        session().display.complain("")
        try:
            request = session().models.completed(properties.request_from(context.scene))
            request = dataclasses.replace(request, steps=None)
            check_prompt(request.prompt, request.model)
            session().start_preview_2d(context, request)
        except EngineError as error:
            return refuse(self, str(error))
        return {"FINISHED"}


class _OfPreview2D:
    """Needs the pictures of a 2D preview."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session().display.preview_2d is None:
            cls.poll_message_set("There are no pictures: press Preview in 2D")  # type: ignore[attr-defined]
            return False
        return True


class UseSeed(_OfPreview2D):
    """Use this picture's seed and prompt for the next object"""

    bl_label = "Use This Seed"

    number: IntProperty(name="Picture", description="Number of the picture, from 0", min=0)  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        preview = session().display.preview_2d
        assert preview is not None
        request = preview.request
        context.scene.sdi.prompt = request.prompt
        context.scene.sdi.seed = following_seed(request.seed, self.number)
        return {"FINISHED"}


class ClosePreview2D(_OfPreview2D):
    """Close the 2D preview"""

    bl_label = "Close"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session().close_preview_2d(context)
        except EngineError as error:
            return refuse(self, str(error))
        return {"FINISHED"}


class SDI_OT_preview_2d(Preview2D, bpy.types.Operator):
    __doc__ = Preview2D.__doc__
    bl_idname = "sdi.preview_2d"


class SDI_OT_use_seed(UseSeed, bpy.types.Operator):
    __doc__ = UseSeed.__doc__
    bl_idname = "sdi.use_seed"
    bl_options = {"UNDO"}


class SDI_OT_close_preview_2d(ClosePreview2D, bpy.types.Operator):
    __doc__ = ClosePreview2D.__doc__
    bl_idname = "sdi.close_preview_2d"


CLASSES = (
    SDI_OT_generate,
    SDI_OT_generate_from_file,
    SDI_OT_variations,
    SDI_OT_regenerate,
    SDI_OT_copy_settings,
    SDI_OT_preview_2d,
    SDI_OT_use_seed,
    SDI_OT_close_preview_2d,
)
