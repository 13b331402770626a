"""Faces of an OBJ file written such that trimesh reads them rightly."""

from __future__ import annotations

import re

from trimesh.util import decode_text

from ..errors import BadInputError
from .polygons import cut as cut_polygon

_POLYGON = re.compile(rb"^f(?:[ \t]+[^\s\\]+){4,}", re.MULTILINE)
_VERTEX_ZERO = re.compile(rb"^f(?:[ \t]+[^\s\\]+)*?[ \t]+0(?=[/\s])", re.MULTILINE)
_CORNER_ON_MAP = re.compile(rb"^f(?:[ \t]+[^\s\\]+)*?[ \t]+\d+/\d", re.MULTILINE)
_CORNER_OFF_MAP = re.compile(rb"^f(?:[ \t]+[^\s\\]+)*?[ \t]+\d+/?(?:/\d*)?(?=\s)", re.MULTILINE)
_FACE = re.compile(rb"^f(?:[ \t]+[^\s\\]+)+", re.MULTILINE)
_MAP_PLACE = re.compile(rb"^vt[ \t]+([^\r\n]*)", re.MULTILINE)
_MATERIAL = re.compile(rb"^usemtl[ \t]+(.+?)[ \t\r]*$", re.MULTILINE)
_NO_MATERIALS = ("None", "(null)", "")
"""What programs write where there is none."""

_VERTEX = re.compile(rb"^v[ \t]+([^\s\\]+)[ \t]+([^\s\\]+)[ \t]+([^\s\\]+)", re.MULTILINE)


def ready_obj(content: bytes, name: str) -> bytes:
    """The bytes of a file (`plain_lines`) for trimesh.

    It cuts every polygon from its first corner: so concave ones come as triangles. And of faces with UV coordinates and
    faces without them it would lose all UV coordinates: so those without have NaN.

    Args:
        name: the file's, for messages.

    Raises:
        BadInputError: it counts vertices from 0.
    """
    if _VERTEX_ZERO.search(content + b"\n"):
        raise BadInputError(f'"{name}" has a face with vertex 0, and OBJ files count from 1: export it again.')
    if _MAP_PLACE.search(content) and _CORNER_ON_MAP.search(content) and _CORNER_OFF_MAP.search(content + b"\n"):
        content = _all_on_map(content)
    if not _POLYGON.search(content):
        return content
    places = _VERTEX.findall(content)

    def cut(match: re.Match[bytes]) -> bytes:
        corners = match.group().split()[1:]
        try:
            numbers = [int(corner.split(b"/")[0]) for corner in corners]
            points = [tuple(map(float, places[number - 1])) for number in numbers]
        except (ValueError, IndexError):  # trimesh finds the same, and says so
            return match.group()
        triangles = cut_polygon(points)
        if triangles is None:
            return match.group()
        return b"\n".join(b"f " + b" ".join(corners[i] for i in triangle) for triangle in triangles)

    return _POLYGON.sub(cut, content)


def used_materials(content: bytes) -> list[str]:
    """The names of all materials that an OBJ file wants, each once."""
    names = dict.fromkeys(decode_text(b"\n".join(dict.fromkeys(_MATERIAL.findall(content)))).splitlines())
    return [name for name in names if name not in _NO_MATERIALS]


def _all_on_map(content: bytes) -> bytes:
    """The file with UV coordinates for every corner, which are NaN where it had none; without normals."""
    places = _MAP_PLACE.findall(content)
    nowhere = len(places) + 1

    def completed(match: re.Match[bytes]) -> bytes:
        corners = []
        for corner in match.group().split()[1:]:
            vertex, place = (*corner.split(b"/"), b"")[:2]
            corners.append(b"%s/%d" % (vertex, int(place or nowhere)))
        return b"f " + b" ".join(corners)

    return _FACE.sub(completed, content) + b"\nvt" + b" nan" * len(places[0].split()) + b"\n"
