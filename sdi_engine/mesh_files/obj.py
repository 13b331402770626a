"""An OBJ file's mesh, with the materials of the files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from trimesh.resolvers import FilePathResolver
from trimesh.util import decode_text

from ..errors import BadInputError
from ..surface.look import UNKNOWN
from .looks import PartLook, as_bytes, picture_beside, srgb_of
from .mtl import Material, material_name, read_mtl
from .named_pictures import sentence
from .numbers_in_text import numbers_in
from .obj_lines import plain_lines
from .parts import Losses, Part, counted, existing, known_map
from .polygons import triangulated

_NO_MATERIALS = ("", "None", "(null)")
"""What programs write where there is none."""

_UNDESCRIBED = "No colours are known of materials that no file beside the mesh describes"
"""Beginning of a notice, which names follow."""

_PLACE = re.compile(rb"^v[ \t]+([^\n]*)", re.MULTILINE)
_MAP_PLACE = re.compile(rb"^vt[ \t]+([^\n]*)", re.MULTILINE)
_FACE_OR_MATERIAL = re.compile(rb"^(f|usemtl)(?:[ \t]+([^\n]*))?$", re.MULTILINE)
_LIBRARY = re.compile(rb"^mtllib[ \t]+([^\n]*)", re.MULTILINE)


def obj_parts(content: bytes, kind: str, name: str, beside: FilePathResolver) -> tuple[list[Part], tuple[str, ...]]:
    """The mesh, a part for each of its materials, none if it has no faces; and what is lost of its look, a sentence
    each.

    Args:
        kind: ".obj".
        name: the file's, for messages.
        beside: where materials and pictures are.

    Raises:
        BadInputError: it is too large, or a face has a vertex that does not exist.
        ValueError, LookupError: it is damaged.
    """
    content = plain_lines(content, name)
    faces = _faces(content)
    counted(int((faces.counts - 2).clip(0).sum()))
    if not len(faces.corners):
        return [], ()
    if not faces.corners[:, 0].all():
        raise BadInputError(f'"{name}" has a face with vertex 0, and OBJ files count from 1: export it again.')
    vertices, colours = _vertices(content)
    at = existing(faces.corners[:, 0] - 1, len(vertices))
    corners, polygon = triangulated(vertices, faces.counts, at)
    uv = _map(content, faces.corners[:, 1])
    whole = Part(vertices, at[corners], None if uv is None else uv[corners], PartLook())
    plain = None if colours is None else colours[whole.faces]
    described = _materials(content, beside)
    losses, parts = Losses(), []
    for number, which in _by_material(faces.material[polygon]):
        part = whole if len(which) == len(corners) else whole.only(which)
        part = replace(part, uv=known_map(part.uv))
        material = described.get(faces.materials[number])
        part = replace(part, look=_look(part, material, None if plain is None else plain[which], beside))
        picture = material.picture if material is not None else None
        losses.compare(part, picture)
        parts.append(part if picture is None else part.laid(picture))
    unknown = [each for each in faces.materials if each not in _NO_MATERIALS and each not in described]
    return parts, losses.notices + sentence(_UNDESCRIBED, unknown)


def _by_material(numbers: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each number that there is, and where it is; at once, since a file may have thousands."""
    order = np.argsort(numbers, kind="stable")
    found, first = np.unique(numbers[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, first[1:]), strict=True)


@dataclass(frozen=True)
class _Faces:
    """Attributes:
    counts: (P,), how many corners each polygon has.
    corners: (counts.sum(), 2), their vertices and places on the map, counted from 1; 0: none.
    material: (P,), the number of each polygon's material.
    materials: the materials' names.
    """

    counts: NDArray[np.int64]
    corners: NDArray[np.int64]
    material: NDArray[np.int64]
    materials: Sequence[str]


def _faces(content: bytes) -> _Faces:
    names, current = {"": 0}, 0
    counts, material, corners = [], [], []
    for match in _FACE_OR_MATERIAL.finditer(content):
        said = match.group(2) or b""
        if match.group(1) == b"usemtl":
            current = names.setdefault(material_name(said), len(names))
            continue
        words = said.split()
        counts.append(len(words))
        material.append(current)
        corners += words
    return _Faces(np.array(counts, np.int64), _corners(corners), np.array(material, np.int64), list(names))


def _corners(words: Sequence[bytes]) -> NDArray[np.int64]:
    """The vertices and the places on the map (C, 2) of corners such as b"1", b"1/2", b"1//3" or b"1/2/3"."""
    slashes = {word.count(b"/") for word in words}
    text = b" ".join(words).replace(b"//", b"/0/")
    if len(slashes) == 1 and not text.endswith(b"/") and b"/ " not in text:
        numbers = numbers_in(text.replace(b"/", b" ")).reshape(len(words), -1).astype(np.int64)
        return np.pad(numbers[:, :2], ((0, 0), (0, max(0, 2 - numbers.shape[1]))))
    split = [(*word.split(b"/"), b"")[:2] for word in words]
    return np.array([(int(vertex), int(place or 0)) for vertex, place in split], np.int64).reshape(-1, 2)


def _vertices(content: bytes) -> tuple[NDArray[np.float64], NDArray[np.uint8] | None]:
    """The vertices (V, 3); and their colours (V, 3), sRGB, None if they have none."""
    rows = _rows(_PLACE.findall(content), 6)
    colours = rows[:, 3:6]
    has_colour = ~np.isnan(colours).any(axis=1)
    if not has_colour.any():
        return rows[:, :3], None
    colours = colours / (255.0 if colours[has_colour].max() > 1.0 else 1.0)
    return rows[:, :3], as_bytes(np.where(has_colour[:, None], colours, UNKNOWN))


def _map(content: bytes, places: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """UV coordinates (C, 2) of corners, NaN where they have none; None if there are none at all."""
    known = _rows(_MAP_PLACE.findall(content), 2)
    if not len(known) or not places.any():
        return None
    if places.min() < 0 or places.max() > len(known):
        raise ValueError("UV coordinates that do not exist")
    return np.concatenate([np.full((1, 2), np.nan), known])[places]


def _rows(lines: Sequence[bytes], width: int) -> NDArray[np.float64]:
    """The first numbers of lines, (N, width); NaN where a line has fewer."""
    numbers = numbers_in(b" ".join(lines))
    each = np.array([len(line.split()) for line in lines], np.int64)
    if each.sum() != len(numbers):
        raise ValueError("a word among the numbers")
    rows = np.full((len(lines), width), np.nan)
    first = np.cumsum(each) - each
    for column in range(width):
        has = each > column
        rows[has, column] = numbers[first[has] + column]
    return rows


def _materials(content: bytes, beside: FilePathResolver) -> dict[str, Material]:
    """The materials of the libraries that can be read, by their names."""
    described: dict[str, Material] = {}
    for line in dict.fromkeys(_LIBRARY.findall(decode_text(content).encode())):
        whole = line.decode().strip()
        for name in (whole, *whole.split()):
            try:
                described |= read_mtl(beside.get(name.replace("\\", "/")))
            except (OSError, ValueError):  # a name with spaces, or several
                continue
    return described


def _look(
    part: Part, material: Material | None, colours: NDArray[np.uint8] | None, beside: FilePathResolver
) -> PartLook:
    """The material's picture, or else the colours of the vertices, or else the material's one colour."""
    if material is not None and material.picture is not None and part.uv is not None:
        shown = picture_beside(beside, material.picture.name)
        if shown is not None:
            return PartLook(picture=shown)
    if colours is not None:
        return PartLook(corners=colours)
    if material is None:
        return PartLook()
    return PartLook(corners=np.broadcast_to(as_bytes(srgb_of(material.colour)), (len(part.faces), 3, 3)))
