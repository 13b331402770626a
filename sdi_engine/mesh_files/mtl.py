"""The materials of an OBJ file, as the files beside it describe them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from trimesh.util import decode_text

from ..surface.look import REPEAT
from .named_pictures import NamedPicture, movement

_PICTURE = re.compile(r"^\s*map_Kd\s+(.*?)\s*$", re.IGNORECASE)
_COLOUR = re.compile(r"^\s*Kd\s+(.*?)\s*$", re.IGNORECASE)
_MATERIAL = re.compile(rb"^\s*newmtl\s+(.*?)\s*$", re.IGNORECASE)
_OPTION = re.compile(r"^-(\w+)\s+")
_NUMBER = re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s+")
_WORD = re.compile(r"^\S+\s+")
_ARGUMENTS = {"o": (_NUMBER, 3), "s": (_NUMBER, 3), "t": (_NUMBER, 3), "mm": (_WORD, 2)}
"""How many words follow an option at most, where it is not one."""


@dataclass(frozen=True)
class Material:
    """Attributes:
    colour: (3,), linear, where there is no picture; white where none is said.
    picture: of the base colour.
    """

    colour: NDArray[np.float64]
    picture: NamedPicture | None = None


def read_mtl(content: bytes) -> dict[str, Material]:
    """The materials of a file, by their names."""
    materials, name = {}, None
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line, text in zip(content.split(b"\n"), decode_text(content).split("\n"), strict=False):
        named, plain, shown = _MATERIAL.match(line), _COLOUR.match(text), _PICTURE.match(text)
        if named:
            name = material_name(named.group(1))
            materials[name] = Material(np.ones(3))
        elif name is not None and plain:
            materials[name] = replace(materials[name], colour=_colour(plain.group(1)))
        elif name is not None and shown:
            materials[name] = replace(materials[name], picture=_picture(shown.group(1)))
    return materials


def material_name(said: bytes) -> str:
    """A name as OBJ and MTL files have it; the same for the same bytes, whatever their encoding, which none tells."""
    said = b" ".join(said.split())
    try:
        return said.decode()
    except UnicodeDecodeError:
        return said.decode("latin-1")


def _colour(said: str) -> NDArray[np.float64]:
    """Of "1 0.5 0", or of one number for all three; white of what is said by a file or in CIE's colours."""
    try:
        numbers = [float(word) for word in said.split()]
    except ValueError:
        return np.ones(3)
    return np.resize(numbers, 3) if len(numbers) in (1, 3) else np.ones(3)


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
    return NamedPicture(said.strip('"').replace("\\", "/"), movement(scale, offset), wrap)
