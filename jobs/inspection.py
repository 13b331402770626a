"""Checks a job's files before Blender opens them, since a results folder may come from somebody else.

Blender's importers trust a file's header: a picture of 100 bytes can make them allocate gigabytes, and a mesh can name
files elsewhere. So nothing is opened that the engine could not have written. Standard library only.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
import sys
import zipfile
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..sdi_engine.system.files import is_folder, open_to_read, read_bytes
from ..sdi_engine.system.untrusted import is_plain_name, parse_json
from . import arrays
from .arrays import UnsoundFileError

MAX_PICTURE_EDGE = 2048
"""Pixels; for previews and the like, which are never larger than the 2D model's images."""
MAX_PICTURE_BYTES = 32 * 2**20

MAX_TEXTURE_EDGE = 8192
"""Pixels; the largest texture that can be requested."""

MAX_GLB_BYTES = 2**30
"""Two million triangles and the largest texture take less."""
MAX_GLB_JSON_BYTES = 2**20
MAX_THINGS = 64
"""Items of each kind in a GLB; ours have one or two of most."""

MAX_PRIMITIVES = 4

MAX_LIVE_BYTES = 8 * 2**20
MAX_LIVE_VERTICES = 100_000
MAX_LIVE_FACES = 200_000
"""Live meshes have some thousands."""

MAX_SIDES = 36
MAX_SAMPLES = 64

_GLB_KEYS = frozenset(
    {"accessors", "asset", "bufferViews", "buffers", "extras", "images", "materials", "meshes", "nodes"}
    | {"samplers", "scene", "scenes", "textures"}
)
_PRIMITIVE_KEYS = frozenset({"attributes", "extras", "indices", "material", "mode"})
_ATTRIBUTES = frozenset({"COLOR_0", "NORMAL", "POSITION", "TANGENT", "TEXCOORD_0"})
_COMPONENTS = {5121: "B", 5123: "H", 5125: "I", 5126: "f"}
"""Type codes of `array` for glTF's component types that indices, vertices and colours have."""
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_INDEX_COMPONENTS = (5121, 5123, 5125)
_POSITION_COMPONENT = 5126
_TRIANGLES = 4

_LIVE_ARRAYS = {"vertices.npy": "<f4", "faces.npy": "<i4", "colours.npy": "|u1"}
_SIDE = re.compile(r"side-\d{1,3}\.png")


@dataclass(frozen=True)
class LiveMesh:
    """The arrays of a live mesh, checked: all vertices are finite, and all triangles refer to existing vertices.

    Attributes:
        vertices: 3 float32 per vertex.
        faces: 3 int32 per triangle.
        colours: 3 uint8 per vertex.
    """

    vertices: bytes
    faces: bytes
    colours: bytes


def is_picture(file: Path) -> bool:
    """Whether a file is a PNG of at most `MAX_PICTURE_EDGE` and `MAX_PICTURE_BYTES`, by its header."""
    try:
        with open_to_read(file) as opened:
            header = opened.read(PNG_HEADER_BYTES)
            size = opened.seek(0, os.SEEK_END)
        check_png(header, MAX_PICTURE_EDGE)
    except (OSError, ValueError, UnsoundFileError):
        return False
    return size <= MAX_PICTURE_BYTES


def sides_in(folder: Path) -> list[Path]:
    """The pictures of a turntable, the front first; empty if the folder is missing or a link."""
    try:
        names = sorted(filter(_SIDE.fullmatch, os.listdir(folder))) if is_folder(folder) else []  # noqa: PTH208
    except OSError:
        return []
    return [folder / name for name in names[:MAX_SIDES] if is_picture(folder / name)]


def samples_in(folder: Path, result: Mapping[str, Any] | None) -> list[Path]:
    """The pictures of a 2D preview that its result names."""
    images = (result or {}).get("images")
    named = [image.get("file") for image in images[:MAX_SAMPLES] if isinstance(image, dict)] if _is_list(images) else []
    names = [name for name in named if isinstance(name, str) and is_plain_name(name)]
    return [folder / name for name in names if is_picture(folder / name)]


def check_png(header: bytes, max_edge: int) -> None:
    """Check that the first bytes of a file are those of a PNG with 8 bits per channel and edges of 1 to `max_edge`
    pixels.

    Raises:
        UnsoundFileError: they are not.
    """
    if len(header) < PNG_HEADER_BYTES or not header.startswith(_PNG_BEGINNING):
        raise UnsoundFileError("a picture that is no PNG")
    width, height, depth, colour, *methods = struct.unpack_from(">II5B", header, len(_PNG_BEGINNING))
    if not (1 <= width <= max_edge and 1 <= height <= max_edge):
        raise UnsoundFileError(f"a picture of {width} × {height} pixels, larger than {max_edge} × {max_edge}")
    if depth > 8 or colour not in (0, 2, 3, 4, 6) or methods[:2] != [0, 0] or methods[2] > 1:
        raise UnsoundFileError("a picture of a kind that we never write")


_PNG_BEGINNING = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
PNG_HEADER_BYTES = len(_PNG_BEGINNING) + 13


def check_glb(file: Path) -> None:
    """Check that a file is a self-contained binary glTF such as the engine writes.

    It names no other files, uses no extension, has finite vertices, triangles of existing vertices, pictures of limited
    size, and nodes without cycles.

    Raises:
        UnsoundFileError: it is not.
    """
    try:
        with open_to_read(file) as opened:
            _check_glb(opened)
    except OSError as error:
        raise UnsoundFileError(error.strerror or str(error)) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error, OverflowError) as error:
        raise UnsoundFileError("its description is damaged") from error


def read_live_mesh(file: Path) -> LiveMesh:
    """Read a live mesh's file, without numpy, which would trust the sizes in it.

    Raises:
        UnsoundFileError: it is damaged, or larger than a live mesh can be.
        OSError: there is none, or it cannot be read.
    """
    try:
        content = read_bytes(file, MAX_LIVE_BYTES)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if set(members) != set(_LIVE_ARRAYS):
                raise UnsoundFileError("it has other arrays than a live mesh")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
                raise UnsoundFileError("it is compressed, which a live mesh never is")
            vertices, faces, colours = (
                arrays.rows(archive.read(name), kind, (3,)) for name, kind in _LIVE_ARRAYS.items()
            )
    except arrays.DAMAGES as error:
        raise UnsoundFileError("it is damaged") from error
    return _checked(LiveMesh(vertices, faces, colours))


def _checked(mesh: LiveMesh) -> LiveMesh:
    vertices, faces, count = numbers("f", mesh.vertices), numbers("i", mesh.faces), len(mesh.colours) // 3
    if len(vertices) != 3 * count or count > MAX_LIVE_VERTICES or len(faces) > 3 * MAX_LIVE_FACES:
        raise UnsoundFileError("it has more vertices or faces than a live mesh, or not one colour per vertex")
    if min(faces) < 0 or max(faces) >= count:
        raise UnsoundFileError("a face has a vertex that does not exist")
    if not math.isfinite(sum(vertices)):
        raise UnsoundFileError("a vertex is NaN or infinite")
    return mesh


def numbers(code: str, content: bytes) -> array[Any]:
    """Little endian numbers, as both glTF and our arrays have them."""
    values = array(code, content)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _check_glb(opened: BinaryIO) -> None:
    size = opened.seek(0, os.SEEK_END)
    opened.seek(0)
    magic, version, length, json_length, json_kind = struct.unpack("<4sIII4s", opened.read(20))
    if magic != b"glTF" or version != 2 or json_kind != b"JSON" or length != size:
        raise UnsoundFileError("it is not a complete GLB file")
    if size > MAX_GLB_BYTES or json_length > min(MAX_GLB_JSON_BYTES, size - 28):
        raise UnsoundFileError("it is larger than any that this engine writes")
    text = opened.read(json_length)
    binary_length, binary_kind = struct.unpack("<I4s", opened.read(8))
    begin = 28 + json_length
    if binary_kind != b"BIN\0" or begin + binary_length != size:
        raise UnsoundFileError("it is not a complete GLB file")
    document = parse_json(text.decode("utf-8"))
    _check_document(document)
    binary = _Binary(opened, begin, binary_length, document)
    for image in document.get("images", []):
        binary.check_image(image)
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            binary.check_primitive(primitive)


def _check_document(document: Any) -> None:
    foreign = sorted(set(document) - _GLB_KEYS)
    if foreign:
        raise UnsoundFileError(f"it has {foreign[0]!r:.40}, which this engine never writes")
    for name, things in document.items():
        if name not in ("asset", "extras", "scene") and not (_is_list(things) and len(things) <= MAX_THINGS):
            raise UnsoundFileError(f"it has more {name} than this engine writes")
    if document["asset"]["version"] != "2.0":
        raise UnsoundFileError("it is not glTF 2.0")
    _refuse_what_leads_elsewhere(document)
    if len(document["buffers"]) != 1:
        raise UnsoundFileError("it has several buffers")
    if sum(len(mesh["primitives"]) for mesh in document["meshes"]) > MAX_PRIMITIVES:
        raise UnsoundFileError("it has more meshes than this engine writes")
    _check_nodes(document)


def _refuse_what_leads_elsewhere(document: Any) -> None:
    """Refuse names of files, extensions, and custom properties that would pass for those of Blender's side."""
    left = [document]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if "uri" in item:
                raise UnsoundFileError("it names another file, which this engine never does")
            if item.get("extensions"):
                raise UnsoundFileError("it has extensions, which this engine never writes")
            extras = item.get("extras")
            if extras and (not isinstance(extras, dict) or any(name.startswith("sdi") for name in extras)):
                raise UnsoundFileError("it has properties that only Blender sets")
            left += item.values()
        elif isinstance(item, list):
            left += item


def _check_nodes(document: Any) -> None:
    """Check that each node has at most one parent and that there are no cycles."""
    nodes = document["nodes"]
    parents: dict[int, int] = {}
    for number, node in enumerate(nodes):
        for child in node.get("children", []):
            if child in parents or not 0 <= child < len(nodes):
                raise UnsoundFileError("its nodes do not form a tree")
            parents[child] = number
    for number in range(len(nodes)):
        above = 0
        while number in parents:
            number, above = parents[number], above + 1
            if above > len(nodes):
                raise UnsoundFileError("its nodes do not form a tree")
    for scene in document["scenes"]:
        if any(not 0 <= number < len(nodes) for number in scene.get("nodes", [])):
            raise UnsoundFileError("its nodes do not form a tree")


class _Binary:
    """The binary part of a GLB file, from which its accessors are read and checked."""

    def __init__(self, opened: BinaryIO, begin: int, length: int, document: Any) -> None:
        self._opened = opened
        self._begin = begin
        self._length = length
        self._document = document

    def check_image(self, image: Any) -> None:
        begin, length = self._view(image["bufferView"])
        if image["mimeType"] != "image/png":
            raise UnsoundFileError("a picture that is no PNG")
        check_png(self._read(begin, min(length, PNG_HEADER_BYTES)), MAX_TEXTURE_EDGE)

    def check_primitive(self, primitive: Any) -> None:
        if set(primitive) - _PRIMITIVE_KEYS or primitive.get("mode", _TRIANGLES) != _TRIANGLES:
            raise UnsoundFileError("it has other primitives than triangles")
        attributes = primitive["attributes"]
        if set(attributes) - _ATTRIBUTES:
            raise UnsoundFileError("its vertices have attributes that this engine never writes")
        count, finite = self._take("f", _POSITION_COMPONENT, attributes["POSITION"], "VEC3")
        if not math.isfinite(sum(finite)):
            raise UnsoundFileError("a vertex is NaN or infinite")
        for name, number in attributes.items():
            if name != "POSITION" and self._accessor(number)[0] != count:
                raise UnsoundFileError("an attribute does not have one value per vertex")
        accessor = self._document["accessors"][primitive["indices"]]
        component = accessor["componentType"]
        if component not in _INDEX_COMPONENTS:
            raise UnsoundFileError("its triangles have indices of the wrong type")
        _, indices = self._take(_COMPONENTS[component], component, primitive["indices"], "SCALAR")
        if not indices or len(indices) % 3 or max(indices) >= count:
            raise UnsoundFileError("a triangle has a vertex that does not exist")

    def _take(self, code: str, component: int, number: int, kind: str) -> tuple[int, array[Any]]:
        accessor = self._document["accessors"][number]
        if accessor["componentType"] != component or accessor["type"] != kind:
            raise UnsoundFileError("its vertices are of another type than this engine writes")
        count, begin, length = self._accessor(number)
        return count, numbers(code, self._read(begin, length))

    def _accessor(self, number: int) -> tuple[int, int, int]:
        """An accessor's count of items, offset in the file and length in bytes."""
        accessor = self._document["accessors"][_index(number)]
        if "sparse" in accessor or "byteStride" in self._document["bufferViews"][_index(accessor["bufferView"])]:
            raise UnsoundFileError("its data has another layout than this engine writes")
        count = _index(accessor["count"])
        item = struct.calcsize(_COMPONENTS[accessor["componentType"]]) * _WIDTHS[accessor["type"]]
        begin, length = self._view(accessor["bufferView"])
        offset = _index(accessor.get("byteOffset", 0))
        if offset + count * item > length:
            raise UnsoundFileError("it has less data than it says")
        return count, begin + offset, count * item

    def _view(self, number: int) -> tuple[int, int]:
        view = self._document["bufferViews"][_index(number)]
        offset, length = _index(view.get("byteOffset", 0)), _index(view["byteLength"])
        if view["buffer"] != 0 or offset + length > self._length:
            raise UnsoundFileError("it has less data than it says")
        return self._begin + offset, length

    def _read(self, begin: int, length: int) -> bytes:
        self._opened.seek(begin)
        return self._opened.read(length)


def _index(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is not an index")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
