"""Draw again what shows our news: sidebars, preferences, the status bar."""

from __future__ import annotations

import bpy


def redraw() -> None:
    """Mark the regions that show something of ours; Blender draws them at its next turn."""
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
    """It belongs to no screen; setting its text, to what it is anyhow, is what makes Blender draw it.

    An operator that is under way may have set another text, so this is not for then.
    """
    for workspace in {window.workspace for window in bpy.context.window_manager.windows}:
        workspace.status_text_set(None)
