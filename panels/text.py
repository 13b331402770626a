"""Wraps long sentences, since Blender's labels do not."""

from __future__ import annotations

import functools

import blf
import bpy

_AROUND_TEXT = 72.0
"""Pixels beside a text in a box of the sidebar: borders, tabs and scroll bar."""

_ICON = 20.0

_LEAST_WIDTH = 100.0
_ELLIPSIS = " …"
_INTERFACE_FONT = 0


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
    column = layout.column(align=True)
    column.scale_y = 0.8
    room = max(_LEAST_WIDTH, width - _AROUND_TEXT - (_ICON if icon != "NONE" else 0.0))
    points = context.preferences.ui_styles[0].widget.points
    for number, line in enumerate(wrapped(text, room, points, lines)):
        column.label(text=line, icon=icon if number == 0 else "NONE" if icon == "NONE" else "BLANK1", translate=False)


@functools.lru_cache(maxsize=256)
def wrapped(text: str, width: float, points: float, lines: int | None = None) -> tuple[str, ...]:
    """The lines of a text in Blender's interface font, none wider than `width`, measured as Blender draws them.

    Args:
        text: the text; whatever white space is in it separates words.
        width: in pixels at a UI scale of 1. A word that is wider, such as a path or a sentence in Japanese, is broken.
        points: size of the font.
        lines: the most lines; of a longer text the last one ends in an ellipsis.
    """
    blf.size(_INTERFACE_FONT, points)
    done, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if _width_of(longer) > width:
            if _width_of(word) <= width:
                done.append(line)
                longer = word
            while _width_of(longer) > width and len(longer) > 1:
                fits = _fitting(longer, width)
                done.append(longer[:fits].rstrip())
                longer = longer[fits:].lstrip()
        line = longer
    done += [line] if line else []
    if lines is not None and len(done) > lines:
        last = done[lines - 1]
        while last and _width_of(last + _ELLIPSIS) > width:
            last = last.rpartition(" ")[0] or last[:-1]
        done[lines - 1 :] = [last + _ELLIPSIS]
    return tuple(done)


def _fitting(text: str, width: float) -> int:
    """How many of a text's characters are no wider than this together; at least one."""
    count = 1
    while _width_of(text[: count + 1]) <= width:
        count += 1
    return count


def _width_of(text: str) -> float:
    return blf.dimensions(_INTERFACE_FONT, text)[0]
