"""Lines of an OBJ file as every reader knows them: of one encoding, and counted from the beginning."""

from __future__ import annotations

import codecs
import re

from ..errors import BadInputError

_INDENTED = re.compile(rb"^[ \t]+", re.MULTILINE)
_TAB = re.compile(rb"^([a-z]+)[ \t]*\t[ \t]*", re.MULTILINE)
_CONTINUED = re.compile(rb"\\[ \t]*\n")
_COMMENT = re.compile(rb"^((?:v|vt|vn|f) [^#\n]*)#[^\n]*", re.MULTILINE)
_BACKWARD = re.compile(rb"^f [^#\n]*-\d", re.MULTILINE)
_COUNTED = (b"v ", b"vt", b"vn")
"""Beginnings of the lines that a face's corner has the numbers of, in this order."""


def plain_lines(content: bytes, name: str) -> bytes:
    """The same file in UTF-8, lines ending in a line feed, without what trimesh would stumble over or take for other
    vertices: indentation, tabs after keywords, comments behind numbers, faces that count vertices backwards.

    Args:
        name: the file's, for messages.

    Raises:
        BadInputError: a face counts back beyond the first vertex.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", errors="replace").encode()
    content = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    content = _CONTINUED.sub(b" ", content)
    content = _TAB.sub(rb"\1 ", _INDENTED.sub(b"", content))
    if b"#" in content:
        content = _COMMENT.sub(rb"\1", content)
    return _counted_forward(content, name) if _BACKWARD.search(content) else content


def _counted_forward(content: bytes, name: str) -> bytes:
    """The file with the numbers of all vertices, UV coordinates and normals counted from the first one."""
    counts = dict.fromkeys(_COUNTED, 0)
    lines = content.split(b"\n")
    for index, line in enumerate(lines):
        if line[:2] in counts:
            counts[line[:2]] += 1
        elif line.startswith(b"f ") and b"-" in line:
            corners = [_forward(corner, list(counts.values()), name) for corner in line.split()[1:]]
            lines[index] = b"f " + b" ".join(corners)
    return b"\n".join(lines)


def _forward(corner: bytes, counts: list[int], name: str) -> bytes:
    """One corner (b"-3/-1"), where there are so many vertices, UV coordinates and normals before it."""
    numbers = corner.split(b"/")
    for place, (number, count) in enumerate(zip(numbers, counts, strict=False)):
        if number.startswith(b"-") and number[1:].isdigit():
            forward = count + 1 + int(number)
            if forward < 1:
                raise BadInputError(f'"{name}" has a face with a vertex that does not exist: export it again.')
            numbers[place] = b"%d" % forward
    return b"/".join(numbers)
