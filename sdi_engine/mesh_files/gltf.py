"""The meshes of a glTF file in their places, with their base colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trimesh.resolvers import FilePathResolver

from .gltf_arrays import array
from .gltf_file import GltfFile
from .gltf_materials import BaseColour, Pictures, base_colour
from .gltf_nodes import instances, seen_nodes, world_matrices
from .gltf_pose import morphed, skinned
from .looks import PartLook, as_bytes, srgb_of
from .named_pictures import sentence
from .parts import Losses, Part, counted, existing, known_map
from .polygons import of_fan, of_strip

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_OTHER_SCENES = "The file has more than one scene: the meshes of the one that it shows first were read."
_UNLIT = "Metals may be too dark: pictures of specular colours cannot be read, or lie elsewhere than the diffuse ones"
"""The beginning of a notice, which names follow."""
_EVEN = 1e-3
"""Colours of vertices that differ by less are one colour."""


def gltf_parts(content: bytes, kind: str, name: str, beside: FilePathResolver) -> tuple[list[Part], tuple[str, ...]]:
    """The surfaces of a file, Y up, none if it has none; and what a person should know of them, a sentence each.

    Args:
        kind: ".glb" or ".gltf".
        name: the file's, for messages.
        beside: where buffers and pictures are.

    Raises:
        BadInputError: it is damaged, compressed, too large, or a file beside it is missing.
        ValueError, TypeError, LookupError, AttributeError: it is damaged.
    """
    file = GltfFile(content, kind, name, beside)
    nodes = file.document.get("nodes", [])
    seen, worlds = seen_nodes(file.document), world_matrices(file.document)
    reader = _Surfaces(file, worlds)
    parts, faces = [], 0
    for number in seen:
        for part in reader.below(number):
            faces = counted(faces + len(part.faces))
            parts.append(part)
    unseen = set(range(len(nodes))) - set(seen)
    is_elsewhere = len(file.document.get("scenes", [])) > 1 and any("mesh" in nodes[number] for number in unseen)
    notices = reader.losses.notices + sentence(_UNLIT, reader.pictures.unlit)
    return parts, notices + ((_OTHER_SCENES,) if is_elsewhere else ())


class _Surfaces:
    """Reads the meshes of nodes."""

    def __init__(self, file: GltfFile, worlds: dict[int, NDArray[np.float64]]) -> None:
        self.losses = Losses()
        self._file, self._worlds = file, worlds
        self.pictures = Pictures(file)
        self._kept: dict[tuple[Any, ...], list[Part]] = {}

    def below(self, number: int) -> Iterator[Part]:
        """The parts of a node's mesh in the world, again for each of its instances."""
        node = self._file.document["nodes"][number]
        if "mesh" not in node:
            return
        mesh = self._file.document["meshes"][node["mesh"]]
        weights = tuple(node.get("weights", mesh.get("weights", ())))
        key = node["mesh"], weights, node.get("skin")
        if key not in self._kept:
            read = (self._part(primitive, weights, node.get("skin")) for primitive in mesh["primitives"])
            self._kept[key] = [part for part in read if part is not None]
        for at in instances(self._file, node):
            for part in self._kept[key]:
                yield part if "skin" in node else part.placed((self._worlds[number] @ at)[:3])

    def _part(self, primitive: Any, weights: tuple[float, ...], skin: int | None) -> Part | None:
        """A piece of a mesh, in the world if it has a skin; None if it has no triangles."""
        vertices = morphed(self._file, primitive, "POSITION", weights)
        faces = existing(self._faces(primitive, len(vertices)), len(vertices))
        if not len(faces):
            return None
        attributes = primitive["attributes"]
        has_material = "material" in primitive
        colour = base_colour(self._file.document, primitive["material"]) if has_material else BaseColour(np.ones(3))
        maps = [name for name in (f"TEXCOORD_{colour.uv_map}", "TEXCOORD_0") if name in attributes]
        uv = morphed(self._file, primitive, maps[0], weights)[faces] * [1.0, -1.0] + [0.0, 1.0] if maps else None
        uv = known_map(uv)
        tint = morphed(self._file, primitive, "COLOR_0", weights)[:, :3] if "COLOR_0" in attributes else None
        look = PartLook()
        if has_material or tint is not None:
            look = self._look(colour, tint, faces, uv is not None)
        is_turned = False
        if skin is not None and "JOINTS_0" in attributes:
            vertices, is_turned = skinned(self._file, primitive, vertices, skin, self._worlds)
        part = Part(vertices, faces, uv, look)
        if len(vertices) > 3 * len(faces):  # which other pieces have, too
            part = part.only(np.ones(len(faces), bool))
        self.losses.compare(part, colour.picture)
        if colour.picture is not None:
            part = part.laid(colour.picture)
        return part.mirrored() if is_turned else part

    def _faces(self, primitive: Any, count: int) -> NDArray[np.int64]:
        """(F, 3); none of points and lines."""
        mode = primitive.get("mode", _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            return np.empty((0, 3), np.int64)
        indices = array(self._file, primitive["indices"])[:, 0] if "indices" in primitive else np.arange(count)
        if mode == _TRIANGLES:
            return indices[: len(indices) // 3 * 3].reshape(-1, 3).astype(np.int64)
        return (of_strip if mode == _STRIP else of_fan)(indices.astype(np.int64))

    def _look(
        self, colour: BaseColour, tint: NDArray[np.float64] | None, faces: NDArray[np.int64], has_map: bool
    ) -> PartLook:
        """The picture times the factor times the vertices' colours (V, 3), which are linear, too; or without one."""
        if tint is not None and np.ptp(tint, axis=0).max() < _EVEN:
            colour, tint = colour.times(tint[0]), None
        picture = None
        if colour.picture is not None and has_map:
            picture = self.pictures.of(colour)
        if picture is not None:
            return PartLook(picture=picture, tint=None if tint is None else tint[faces].astype(np.float32))
        if tint is None:
            return PartLook(corners=np.broadcast_to(as_bytes(srgb_of(colour.plain)), (len(faces), 3, 3)))
        return PartLook(corners=as_bytes(srgb_of(tint * colour.plain))[faces])
