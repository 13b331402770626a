"""Check: ask the engine what is installed and what is missing."""

from __future__ import annotations

import time

import bpy

from .. import preferences, session


class SDI_OT_check_engine(bpy.types.Operator):
    """Ask the engine's Python what is installed, and say what is missing"""

    bl_idname = "sdi.check_engine"
    bl_label = "Check"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.examination is not None and session.examination.diagnosis is None:
            cls.poll_message_set("The check is running")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        examination = session.examine(preferences.engine(context))
        if bpy.app.background:  # where timers do not fire
            while not examination.poll():
                time.sleep(0.1)
            assert examination.diagnosis is not None
            level = "INFO" if examination.diagnosis.ok else "WARNING"
            self.report({level}, examination.diagnosis.sentence)
        return {"FINISHED"}


CLASSES = (SDI_OT_check_engine,)
