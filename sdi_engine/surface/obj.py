"""Polygons of an OBJ file cut into triangles, where trimesh would not do it right."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import BadInputError

_Point = tuple[float, ...]

_POLYGON = re.compile(rb"^f(?:[ \t]+[^\s\\]+){4,}", re.MULTILINE)
_VERTEX_ZERO = re.compile(rb"^f(?:[ \t]+[^\s\\]+)*?[ \t]+0(?=[/\s])", re.MULTILINE)
_VERTEX = re.compile(rb"^v[ \t]+([^\s\\]+)[ \t]+([^\s\\]+)[ \t]+([^\s\\]+)", re.MULTILINE)


def ready_obj(content: bytes, name: str) -> bytes:
    """A file's bytes for trimesh, which cuts every polygon from its first corner: concave ones come as triangles.

    Args:
        name: the file's, for messages.

    Raises:
        BadInputError: it counts vertices from 0.
    """
    if _VERTEX_ZERO.search(content + b"\n"):
        raise BadInputError(f'"{name}" has a face with vertex 0, and OBJ files count from 1: export it again.')
    if not _POLYGON.search(content):
        return content
    places = _VERTEX.findall(content)

    def cut(match: re.Match[bytes]) -> bytes:
        corners = match.group().split()[1:]
        try:
            numbers = [int(corner.split(b"/")[0]) for corner in corners]
            points = [tuple(map(float, places[number - (number > 0)])) for number in numbers]
        except (ValueError, IndexError):  # trimesh finds the same, and says so
            return match.group()
        flat = _seen_along_normal(points)
        if all(_turn(flat[0], flat[i], flat[i + 1]) >= 0.0 for i in range(1, len(flat) - 1)):
            return match.group()
        return b"\n".join(b"f " + b" ".join(corners[i] for i in triangle) for triangle in _ears(flat))

    return _POLYGON.sub(cut, content)


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
