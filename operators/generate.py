"""Generate: from the panel's settings to a running job, or, in the background, to the object itself."""

from __future__ import annotations

import bpy

from .. import blocking, preferences, properties, session
from ..jobs.placement import Placement
from ..scene.importer import ImportFailedError
from ..sdi_engine.errors import EngineError


class SDI_OT_generate(bpy.types.Operator):
    """Make an object from the prompt; you can go on working meanwhile"""

    bl_idname = "sdi.generate"
    bl_label = "Generate"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.waits_for:
            cls.poll_message_set(session.waits_for)
            return False
        if session.is_running():
            cls.poll_message_set("One object is being made: wait for it, or cancel it")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.complain("")
        try:
            request = properties.request_from(context.scene)
            results, engine = preferences.results_folder(context), preferences.engine(context)
            if bpy.app.background:
                blocking.generate(context, request, results, engine, placement_at_cursor(context))
            else:
                session.start(request, results, engine, placement_at_cursor(context))
        except (EngineError, ImportFailedError) as error:
            session.complain(str(error))
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


def placement_at_cursor(context: bpy.types.Context) -> Placement:
    """A result goes where the 3D cursor is now, wherever it is when the result is there."""
    x, y, z = context.scene.cursor.location
    return Placement((x, y, z), scene=context.scene.name, blend_file=bpy.data.filepath)


CLASSES = (SDI_OT_generate,)
