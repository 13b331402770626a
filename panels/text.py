"""Wraps long sentences, since Blender's labels do not."""

from __future__ import annotations

import textwrap

import bpy

_PIXELS_PER_CHARACTER = 6.5
_PIXELS_AROUND_TEXT = 60


def wrapped_label(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    text: str,
    icon: str = "NONE",
    lines: int | None = None,
    width: float | None = None,
) -> None:
    """Draw a text as several labels, with the icon before the first.

    It stays as it is in every language: Blender knows no sentence of ours, but would translate a prompt that is a word
    of its interface, such as "Cube".

    Args:
        layout: where to draw.
        context: its region gives the width by default.
        text: the text.
        icon: name of Blender's icon.
        lines: the most lines; a longer text ends in an ellipsis.
        width: in pixels at a UI scale of 1; None for the region's width.
    """
    if width is None:
        width = context.region.width / context.preferences.system.ui_scale if context.region else 600
    characters = max(20, int((width - _PIXELS_AROUND_TEXT) / _PIXELS_PER_CHARACTER))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, characters, max_lines=lines, placeholder=" …")):
        column.label(text=line, icon=icon if number == 0 else "NONE" if icon == "NONE" else "BLANK1", translate=False)
