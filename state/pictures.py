"""Pictures of jobs as icons, which are what Blender's panels can show. What reads files is not for panels to call.

Those who name the pictures have looked at their headers (`jobs.inspection`), but for the current one, which changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bpy.utils.previews

from ..jobs.inspection import is_picture

MAX_THUMBNAILS = 200

_current: Any = None
_thumbnails: Any = None
_looks: Any = None


def show_current(preview: Path, sides: Iterable[Path]) -> None:
    """Show these pictures of the job that is under way; those shown before are forgotten."""
    global _current
    if _current is None:
        _current = bpy.utils.previews.new()
    _current.clear()
    for name, file in [("preview", preview), *((f"side {number}", file) for number, file in enumerate(sides))]:
        if is_picture(file):
            picture = _current.load(name, str(file), "IMAGE", force_reload=True)
            len(picture.image_size)  # makes Blender read the file now; or the next one would replace it unread


def show_looks(files: Iterable[Path]) -> None:
    """Show these pictures as the latest 2D preview."""
    global _looks
    if _looks is None:
        _looks = bpy.utils.previews.new()
    _looks.clear()
    for number, file in enumerate(files):
        _looks.load(str(number), str(file), "IMAGE", force_reload=True)


def show_thumbnails(files: dict[str, Path]) -> None:
    """Keep a thumbnail for each of these jobs, by name; Blender reads a file when it is first drawn."""
    global _thumbnails
    if _thumbnails is None:
        _thumbnails = bpy.utils.previews.new()
    wanted = dict(list(files.items())[:MAX_THUMBNAILS])
    for name in set(_thumbnails) - set(wanted):
        del _thumbnails[name]
    for name in set(wanted) - set(_thumbnails):
        _thumbnails.load(name, str(wanted[name]), "IMAGE")


def forget_thumbnail(name: str) -> None:
    """Read this job's thumbnail again at the next `show_thumbnails`."""
    if _thumbnails is not None and name in _thumbnails:
        del _thumbnails[name]


def forget_current() -> None:
    """Show nothing of the job that is under way."""
    if _current is not None:
        _current.clear()


def forget_all() -> None:
    """Free all pictures."""
    global _current, _thumbnails, _looks
    for collection in (_current, _thumbnails, _looks):
        if collection is not None:
            bpy.utils.previews.remove(collection)
    _current = _thumbnails = _looks = None


def preview() -> int:
    """The icon of the current job's latest picture; 0 where there is none."""
    return _icon(_current, "preview")


def sides() -> list[int]:
    """The icons of the current job's turntable, the front first; empty where there is none."""
    if _current is None:
        return []
    return [_current[name].icon_id for name in sorted(_current) if name.startswith("side ")]


def thumbnail(name: str) -> int:
    """The icon of the job of this name; 0 where there is none."""
    return _icon(_thumbnails, name)


def look(number: int) -> int:
    """The icon of a picture of the latest 2D preview; 0 where there is none."""
    return _icon(_looks, str(number))


def _icon(collection: Any, name: str) -> int:
    return collection[name].icon_id if collection is not None and name in collection else 0
