"""The place of all panels in Blender's window."""

from __future__ import annotations


class Tab:
    """The tab "SDI" in the 3D view's sidebar."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SDI"
