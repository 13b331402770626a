"""A double click on a button that queues jobs is one press of it."""

from __future__ import annotations

import bpy

from ..state.current import session


class PressedOnce:
    """Base of operators that queue jobs, before their other bases: the second click of a double click does nothing.

    A script, which executes them, may do so as fast as it likes.
    """

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        apart = context.preferences.inputs.mouse_double_click_time / 1000.0
        if session().clicks.is_second(self.bl_idname, apart):  # type: ignore[attr-defined]
            return {"CANCELLED"}
        return self.execute(context)  # type: ignore[attr-defined]
