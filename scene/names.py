"""Names of the datablocks that are put into the file."""

from __future__ import annotations

import re

MAX_NAME_BYTES = 63

_ROOM_FOR_A_NUMBER = len(".001.jpeg")
_NOT_IN_FILE_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *", re.IGNORECASE)
"""Of Windows, whatever follows after a point."""
_TAKEN = re.compile(rf"{_DEVICE.pattern}|preview|(seed|look)-\d*", re.IGNORECASE)
"""Devices of Windows, and the pictures of a job."""


def object_name(prompt: str, suffix: str = "") -> str:
    """The prompt as a name: as much of it as fits with the suffix into Blender's limit, cut between characters."""
    room = MAX_NAME_BYTES - len(suffix.encode("utf-8"))
    return prompt.encode("utf-8")[:room].decode("utf-8", errors="ignore").strip() + suffix


def file_name(prompt: str) -> str:
    """The prompt as the name of an image and of its file, valid on every system, without the extension."""
    name = _NOT_IN_FILE_NAMES.sub("_", object_name(prompt))
    name = name.encode("utf-8")[: MAX_NAME_BYTES - _ROOM_FOR_A_NUMBER].decode("utf-8", errors="ignore").strip(" .")
    if _DEVICE.fullmatch(name.partition(".")[0]):
        name = name.replace(".", "_")
    return f"{name} (texture)" if _TAKEN.fullmatch(name) else name or "texture"
