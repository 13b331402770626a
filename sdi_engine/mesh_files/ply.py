"""A PLY file's mesh: polygons of any number of corners, and the several ways in which such files are coloured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from trimesh.resolvers import FilePathResolver

from .looks import PartLook, as_bytes, picture_beside
from .named_pictures import NamedPicture
from .parts import Losses, Part, counted, existing, known_map
from .ply_rows import Lists, PlyFile, read_ply
from .polygons import of_strip, triangulated

_CORNERS = ("vertex_indices", "vertex_index")
_MAPS = (("u", "v"), ("s", "t"), ("texture_u", "texture_v"))
_COLOURS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
"""Names that programs give to columns."""

_Columns = Mapping[str, NDArray[np.generic] | Lists]


def ply_parts(content: bytes, kind: str, name: str, beside: FilePathResolver) -> tuple[list[Part], tuple[str, ...]]:
    """The mesh, a part for each of its pictures, none if it has no faces; and what is lost of its look, a sentence
    each.

    Args:
        kind: ".ply".
        name: the file's, for messages.
        beside: where pictures are.

    Raises:
        BadInputError: it is incomplete, too large, or a face has a vertex that does not exist.
        ValueError, LookupError: it is damaged.
    """
    file = read_ply(content, name, ("vertex", "face", "tristrips"))
    vertex, face = file.elements.get("vertex", {}), file.elements.get("face", {})
    polygons = next((face[each] for each in _CORNERS if each in face), None)
    if polygons is None:
        face = {}
        polygons = _strips(file)
    if not len(polygons.counts) or not vertex:
        return [], ()
    vertices = np.column_stack([vertex[axis] for axis in "xyz"]).astype(np.float64)
    at = existing(polygons.values, len(vertices))
    counted(int((polygons.counts - 2).clip(0).sum()))
    corners, polygon = triangulated(vertices, polygons.counts, at)
    uv = _map(vertex, face, polygons, at)
    whole = Part(vertices, at[corners], None if uv is None else uv[corners], PartLook())
    plain = _plain(vertex, face, whole.faces, polygon)
    losses = Losses()
    parts = []
    for number, which in _by_picture(file, face, polygon):
        part = whole if which.all() else whole.only(which)
        part = replace(part, uv=known_map(part.uv))
        picture = NamedPicture(file.pictures[number]) if number is not None else None
        shown = None if picture is None or part.uv is None else picture_beside(beside, picture.name)
        look = PartLook(corners=None if plain is None else plain[which]) if shown is None else PartLook(picture=shown)
        part = replace(part, look=look)
        losses.compare(part, picture)
        parts.append(part)
    return parts, losses.notices


def _strips(file: PlyFile) -> Lists:
    """The triangles of strips, which -1 ends."""
    strips = next(iter(file.elements.get("tristrips", {}).values()), None)
    triangles = [np.empty((0, 3), np.int64)]
    if isinstance(strips, Lists):
        rows = np.split(strips.values.astype(np.int64), np.cumsum(strips.counts)[:-1])
        pieces = [piece for row in rows for piece in np.split(row, np.flatnonzero(row < 0))]
        triangles += [of_strip(piece[piece >= 0]) for piece in pieces]
    faces = np.concatenate(triangles)
    return Lists(np.full(len(faces), 3, np.int64), faces.reshape(-1))


def _map(vertex: _Columns, face: _Columns, polygons: Lists, at: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """UV coordinates (C, 2) of all corners of all polygons, NaN where there are none; None if there are none at all."""
    places = face.get("texcoord")
    if isinstance(places, Lists):
        has = places.counts == 2 * polygons.counts
        uv = np.full((len(at), 2), np.nan)
        uv[np.repeat(has, polygons.counts)] = places.values[np.repeat(has, places.counts)].reshape(-1, 2)
        return uv if has.any() else None
    for names in _MAPS:
        if all(each in vertex for each in names):
            return np.column_stack([vertex[each] for each in names]).astype(np.float64)[at]
    return None


def _plain(
    vertex: _Columns, face: _Columns, faces: NDArray[np.int64], polygon: NDArray[np.int64]
) -> NDArray[np.uint8] | None:
    """Colours (F, 3, 3) without a picture: those of vertices, or else of faces."""
    of_vertices, of_faces = _colours(vertex), _colours(face)
    if of_vertices is not None:
        return of_vertices[faces]
    return None if of_faces is None else np.repeat(of_faces[polygon][:, None], 3, axis=1)


def _colours(columns: _Columns) -> NDArray[np.uint8] | None:
    """sRGB (N, 3) of colours in 0…1, 0…255 or 0…65535."""
    names = next((names for names in _COLOURS if all(each in columns for each in names)), None)
    if names is None:
        return None
    colours = np.column_stack([columns[each] for each in names])
    largest = np.nanmax(colours.astype(np.float64), initial=0.0)
    if colours.dtype.kind == "f" and largest < 2.0:
        return as_bytes(colours.astype(np.float64))
    return as_bytes(colours.astype(np.float64) / (255.0 if largest <= 255.0 else 65535.0))


def _by_picture(
    file: PlyFile, face: _Columns, polygon: NDArray[np.int64]
) -> Sequence[tuple[int | None, NDArray[np.bool_]]]:
    """The numbers of the pictures, None for none, and the triangles (F,) that show each."""
    numbers = face.get("texnumber")
    if len(file.pictures) > 1 and isinstance(numbers, np.ndarray):
        shown = numbers.astype(np.int64)[polygon]
        shown[(shown < 0) | (shown >= len(file.pictures))] = -1
        return [(None if each < 0 else int(each), shown == each) for each in np.unique(shown)]
    return [(0 if file.pictures else None, np.ones(len(polygon), bool))]
