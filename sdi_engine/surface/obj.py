"""Faces of an OBJ file written such that trimesh reads them rightly."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trimesh.util import decode_text

from ..errors import BadInputError

_Point = tuple[float, ...]

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
        flat = _seen_along_normal(points)
        if all(_turn(flat[0], flat[i], flat[i + 1]) >= 0.0 for i in range(1, len(flat) - 1)):
            return match.group()
        return b"\n".join(b"f " + b" ".join(corners[i] for i in triangle) for triangle in _ears(flat))

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


def _seen_along_normal(points: Sequence[_Point]) -> list[_Point]:
    """The corners (x, y) of a polygon in space, seen along the axis nearest to its normal, counter-clockwise."""
    normal = [0.0, 0.0, 0.0]
    for here, there in zip(points, [*points[1:], points[0]], strict=True):
        for axis in range(3):  # Newell's method
            a, b = (axis + 1) % 3, (axis + 2) % 3
            normal[axis] += (here[a] - there[a]) * (here[b] + there[b])
    axis = max(range(3), key=lambda each: abs(normal[each]))
    sign = 1.0 if normal[axis] > 0.0 else -1.0
    centre = [sum(values) / len(points) for values in zip(*points, strict=True)]
    a, b = (axis + 1) % 3, (axis + 2) % 3
    return [(point[a] - centre[a], sign * (point[b] - centre[b])) for point in points]


def _turn(a: _Point, b: _Point, c: _Point) -> float:
    """Twice the area of a triangle, positive where it is counter-clockwise."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _ears(flat: Sequence[_Point]) -> list[tuple[int, int, int]]:
    """Triangles of a simple polygon, by cutting off ears; of a polygon that has none left, a fan."""
    left = list(range(len(flat)))
    triangles = []
    while len(left) > 3:
        for at in range(len(left)):
            ear = (left[at - 1], left[at], left[(at + 1) % len(left)])
            a, b, c = (flat[i] for i in ear)
            if _turn(a, b, c) <= 0.0:
                continue
            others = (flat[i] for i in left if i not in ear)
            if not any(min(_turn(a, b, p), _turn(b, c, p), _turn(c, a, p)) >= 0.0 for p in others):
                break
        else:
            at = 1
            ear = (left[0], left[1], left[2])
        triangles.append(ear)
        del left[at]
    return [*triangles, tuple(left)]
