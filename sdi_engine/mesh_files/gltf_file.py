"""A glTF file taken apart: its description, and the bytes that this refers to."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from trimesh.resolvers import FilePathResolver

from ..errors import BadInputError
from ..system.untrusted import parse_json

_READ = (
    "KHR_materials_",
    "KHR_lights_",
    "KHR_texture_",
    "EXT_texture_",
    "MSFT_texture_",
    "KHR_mesh_quantization",
    "KHR_node_visibility",
    "KHR_animation_pointer",
    "KHR_xmp",
    "EXT_mesh_gpu_instancing",
)
"""Beginnings of the extensions that a file may require: they are read, change neither shape nor base colour, or are of
pictures, whose loss is told."""

_DRACO = "KHR_draco_mesh_compression"
_JSON, _BINARY = 0x4E4F534A, 0x004E4942


class GltfFile:
    """A file's description, and what it refers to.

    Attributes:
        document: the description, as the file has it.
        name: the file's, for messages.
    """

    def __init__(self, content: bytes, kind: str, name: str, beside: FilePathResolver) -> None:
        """Take a file apart.

        Args:
            kind: ".glb" or ".gltf".
            beside: where other files are.

        Raises:
            BadInputError: it is damaged, of another version, or compressed in a way that cannot be read.
        """
        text, self._binary = _taken_apart(content, name) if kind == ".glb" else (content, None)
        self.name = name
        self._beside = beside
        self._buffers: dict[int, bytes] = {}
        try:
            self.document: Any = parse_json(text.decode("utf-8-sig"))
            _check(self.document, name)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise BadInputError(f'"{name}" is damaged, or no glTF file: export it again.') from error

    def view(self, number: int) -> memoryview:
        """The bytes of a buffer view.

        Raises:
            BadInputError: they are in a file that cannot be read.
            ValueError, LookupError: the description is damaged.
        """
        view = self.document["bufferViews"][number]
        start = view.get("byteOffset", 0)
        part = memoryview(self._buffer(view["buffer"]))[start : start + view["byteLength"]]
        if len(part) != view["byteLength"]:
            raise BadInputError(f'"{self.name}" is not complete: copy or export it again.')
        return part

    def resource(self, uri: str) -> bytes:
        """What a URI holds, or the file beside that it names; raises OSError or ValueError."""
        if uri.startswith("data:"):
            start, comma, data = uri.partition(",")
            if not comma:
                raise ValueError("a data URI without data")
            encoded = unquote_to_bytes(data)
            return base64.b64decode(encoded) if start.endswith(";base64") else encoded
        try:
            return self._beside.get(unquote(uri).replace("\\", "/"))
        except (OSError, ValueError):
            return self._beside.get(uri)  # of a program that does not encode names

    def _buffer(self, number: int) -> bytes:
        if number not in self._buffers:
            uri = self.document["buffers"][number].get("uri")
            if uri is None and (number > 0 or self._binary is None):  # a GLB file holds the first one
                raise ValueError("a buffer that is nowhere")
            try:
                self._buffers[number] = self._binary if uri is None else self.resource(uri)
            except (OSError, ValueError) as error:
                if isinstance(error, binascii.Error):
                    raise
                raise BadInputError(
                    f'"{self.name}" needs the file "{uri:.80}", which cannot be read: put it beside it.'
                ) from error
        return self._buffers[number]


def _taken_apart(content: bytes, name: str) -> tuple[bytes, bytes | None]:
    """The JSON of a GLB file, and its buffer, None if it has none."""
    if len(content) < 20 or content[:4] != b"glTF":
        raise BadInputError(f'"{name}" is damaged, or no GLB file: export it again.')
    version, length, json_length, json_kind = struct.unpack("<IIII", content[4:20])
    if version != 2:
        raise BadInputError(f'"{name}" is glTF {version}, and only glTF 2 can be read: export it again.')
    if length > len(content) or json_kind != _JSON or json_length > len(content) - 20:
        raise BadInputError(f'"{name}" is not complete: copy or export it again.')
    at = 20 + json_length
    text = content[20:at]
    while at + 8 <= length:  # chunks of other kinds are to be passed over
        size, kind = struct.unpack("<II", content[at : at + 8])
        if kind == _BINARY:
            return text, content[at + 8 : at + 8 + size]
        at += 8 + size
    return text, None


def _check(document: Any, name: str) -> None:
    needed = list(document.get("extensionsRequired", []))
    needed += [_DRACO for primitive in primitives(document) if _is_only_compressed(document, primitive)]
    for extension in needed:
        if not extension.startswith(_READ):
            raise BadInputError(
                f'"{name}" needs the extension {extension!r:.60}, which cannot be read: export it without '
                f"{'compression' if 'compression' in extension else 'it'}."
            )
    if str(document.get("asset", {}).get("version", "2.0")).split(".")[0] != "2":
        raise BadInputError(f'"{name}" is of another version than glTF 2, the only one that is read: export it again.')


def _is_only_compressed(document: Any, primitive: Any) -> bool:
    accessor = document["accessors"][primitive["attributes"]["POSITION"]]
    return _DRACO in primitive.get("extensions", {}) and "bufferView" not in accessor


def primitives(document: Any) -> list[Any]:
    """All pieces of all meshes."""
    return [primitive for mesh in document.get("meshes", []) for primitive in mesh["primitives"]]
