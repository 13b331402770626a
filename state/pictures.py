"""Pictures of jobs as icons, the form in which Blender's panels can show them. Panels only call what reads no files.

The callers have checked the pictures' headers (`jobs.inspection`), except those of the current job, which change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import bpy.utils.previews

from ..jobs.inspection import is_picture

MAX_THUMBNAILS = 200


class Pictures:
    """The pictures of the current job, of the jobs in the list, and of the latest 2D preview."""

    def __init__(self) -> None:
        self._current: Any = None
        self._thumbnails: Any = None
        self._samples: Any = None

    def show_current(self, preview: Path, sides: Iterable[Path]) -> None:
        """Show these pictures of the current job, and forget those shown before."""
        if self._current is None:
            self._current = bpy.utils.previews.new()
        self._current.clear()
        for name, file in [("preview", preview), *((f"side {number}", file) for number, file in enumerate(sides))]:
            if is_picture(file):
                picture = self._current.load(name, str(file), "IMAGE", force_reload=True)
                len(picture.image_size)  # makes Blender read the file now, before it is replaced

    def show_samples(self, files: Iterable[Path]) -> None:
        """Show these pictures as the latest 2D preview."""
        if self._samples is None:
            self._samples = bpy.utils.previews.new()
        self._samples.clear()
        for number, file in enumerate(files):
            self._samples.load(str(number), str(file), "IMAGE", force_reload=True)

    def show_thumbnails(self, files: Mapping[str, Path]) -> None:
        """Have a thumbnail for each of these jobs, by name; Blender reads a file when it is first drawn."""
        if self._thumbnails is None:
            self._thumbnails = bpy.utils.previews.new()
        wanted = dict(list(files.items())[:MAX_THUMBNAILS])
        for name in set(self._thumbnails) - set(wanted):
            del self._thumbnails[name]
        for name in set(wanted) - set(self._thumbnails):
            self._thumbnails.load(name, str(wanted[name]), "IMAGE")

    def forget_thumbnail(self, name: str) -> None:
        """Have this job's thumbnail read again at the next `show_thumbnails`."""
        if self._thumbnails is not None and name in self._thumbnails:
            del self._thumbnails[name]

    def forget_current(self) -> None:
        """Show no pictures of the current job."""
        if self._current is not None:
            self._current.clear()

    def free(self) -> None:
        """Free all pictures."""
        for collection in (self._current, self._thumbnails, self._samples):
            if collection is not None:
                bpy.utils.previews.remove(collection)
        self._current = self._thumbnails = self._samples = None

    def preview(self) -> int:
        """The icon of the current job's latest picture; 0 if there is none."""
        return _icon(self._current, "preview")

    def sides(self) -> list[int]:
        """The icons of the current job's turntable, the front first; empty if there is none."""
        if self._current is None:
            return []
        return [self._current[name].icon_id for name in sorted(self._current) if name.startswith("side ")]

    def thumbnail(self, name: str) -> int:
        """The icon of the job of this name; 0 if there is none."""
        return _icon(self._thumbnails, name)

    def sample(self, number: int) -> int:
        """The icon of a picture of the latest 2D preview; 0 if there is none."""
        return _icon(self._samples, str(number))


def _icon(collection: Any, name: str) -> int:
    return collection[name].icon_id if collection is not None and name in collection else 0
