"""Redraws what shows the extension's state: sidebars, preferences, the status bar."""

from __future__ import annotations

import bpy

LATER_SECONDS = 0.1


def redraw() -> None:
    """Tag the regions that show something of ours for redrawing by Blender."""
    if bpy.app.background:
        return
    manager = bpy.context.window_manager
    for window in manager.windows:
        for area in window.screen.areas:
            for region in area.regions:
                if (area.type, region.type) in (("VIEW_3D", "UI"), ("PREFERENCES", "WINDOW")):
                    region.tag_redraw()
    if not any(window.modal_operators for window in manager.windows):
        _redraw_status_bar()


def _redraw_status_bar() -> None:
    """Make Blender redraw the status bar by setting its text to the default, since it belongs to no screen.

    Not while a modal operator runs, which may have set another text. Nor where Blender has no window in its context, as
    in a timer's call that has just opened a file: it would crash, so this waits for another call.
    """
    if bpy.context.window is None:
        if not bpy.app.timers.is_registered(redraw):
            bpy.app.timers.register(redraw, first_interval=LATER_SECONDS)
        return
    for workspace in {window.workspace for window in bpy.context.window_manager.windows}:
        workspace.status_text_set(None)
