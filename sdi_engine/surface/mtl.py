"""The materials of an OBJ file looked at, before trimesh reads what they say."""

from __future__ import annotations

import re

from trimesh.util import decode_text

from .named_pictures import REPEAT, NamedPicture, movement

_PICTURE = re.compile(r"^\s*map_Kd\s+(.*?)\s*$", re.IGNORECASE)
_MATERIAL = re.compile(r"^\s*newmtl\s+(.*?)\s*$", re.IGNORECASE)
_OPTION = re.compile(r"^-(\w+)\s+")
_NUMBER = re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s+")
_WORD = re.compile(r"^\S+\s+")
_ARGUMENTS = {"o": (_NUMBER, 3), "s": (_NUMBER, 3), "t": (_NUMBER, 3), "mm": (_WORD, 2)}
"""How many words follow an option at most, where it is not one."""


def ready_mtl(content: bytes) -> tuple[bytes, dict[str, NamedPicture | None]]:
    """A file's bytes for trimesh, which takes the options before a picture's name for a part of it; and the pictures
    of all materials, by the materials' names."""
    lines, pictures, material = [], {}, None
    for line in decode_text(content).splitlines():
        named = _MATERIAL.match(line)
        if named:
            material = " ".join(named.group(1).split())
            pictures[material] = None
        shown = _PICTURE.match(line)
        if shown and material is not None:
            picture = _picture(shown.group(1))
            pictures[material] = picture
            line = f"map_Kd {picture.name}"
        lines.append(line)
    return "\n".join(lines).encode(), pictures


def _picture(said: str) -> NamedPicture:
    """The picture of "-s 2 2 1 -clamp on wood.png"."""
    numbers: dict[str, list[float]] = {}
    wrap = REPEAT
    while option := _OPTION.match(said):
        said = said[option.end() :]
        argument, most = _ARGUMENTS.get(option.group(1), (_WORD, 1))
        values = []
        while len(values) < most and (value := argument.match(said)):
            values.append(value.group().strip())
            said = said[value.end() :]
        if argument is _NUMBER:
            numbers[option.group(1)] = [float(value) for value in values]
        elif option.group(1) == "clamp":
            wrap = ("clamp", "clamp") if values == ["on"] else REPEAT
    # what is not said of v is as if nothing were said
    scale, offset = ((numbers.get(name, []) + [usual] * 2)[:2] for name, usual in (("s", 1.0), ("o", 0.0)))
    return NamedPicture(said.replace("\\", "/"), movement(scale, offset), wrap)
