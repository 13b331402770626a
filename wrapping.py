"""Long sentences in Blender's interface, whose labels do not wrap."""

from __future__ import annotations

import textwrap

import bpy

_PIXELS_PER_CHARACTER = 6.5
_PIXELS_AROUND_TEXT = 60


def label(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """The text over as many labels as the region's width asks for; the icon stands at the first."""
    region_width = context.region.width if context.region else 600
    scale = context.preferences.system.ui_scale
    characters = max(20, int((region_width / scale - _PIXELS_AROUND_TEXT) / _PIXELS_PER_CHARACTER))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, characters)):
        column.label(text=line, icon=icon if number == 0 else "NONE" if icon == "NONE" else "BLANK1")
