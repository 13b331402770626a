"""An STL file's mesh, read by trimesh."""

from __future__ import annotations

import io
import re

import numpy as np
import trimesh
from trimesh.resolvers import FilePathResolver

from ..contract.source_mesh import MAX_FACES
from ..errors import BadInputError
from .looks import PartLook
from .parts import Part, counted, existing

_HEADER, _TRIANGLE = 84, 50
"""Bytes of a binary file."""

_LOOP = re.compile(rb"outer\s+loop", re.IGNORECASE)


def stl_parts(content: bytes, kind: str, name: str, beside: FilePathResolver) -> tuple[list[Part], tuple[str, ...]]:
    """The meshes of a file, none if it has none; such files have no look that could be lost.

    Raises:
        BadInputError: it is too large, or ends within a solid, which trimesh passes over.
        Exception: it is damaged: of any kind.
    """
    loops = 0
    if content.lstrip()[:5].lower() == b"solid":  # text, or a binary file that pretends to be
        loops = len(_LOOP.findall(content))
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if loops else _as_long_as_it_says(content, name)
    scene = trimesh.load_scene(io.BytesIO(content), file_type=kind[1:], process=False)
    meshes = [mesh for mesh in scene.geometry.values() if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
    if counted(sum(len(mesh.faces) for mesh in meshes)) < loops:
        raise BadInputError(f'"{name}" is not complete: copy or export it again.')
    vertices = [np.asarray(mesh.vertices, np.float64) for mesh in meshes]
    faces = [existing(np.asarray(mesh.faces), len(mesh.vertices)) for mesh in meshes]
    return [Part(*each, uv=None, look=PartLook()) for each in zip(vertices, faces, strict=True)], ()


def _as_long_as_it_says(content: bytes, name: str) -> bytes:
    """A binary file without what follows its triangles, with which trimesh finds none; other content as it is.

    Raises:
        BadInputError: there are fewer triangles than it says.
    """
    triangles = int.from_bytes(content[80:_HEADER], "little")
    length = _HEADER + _TRIANGLE * triangles
    if _HEADER < len(content) < length and triangles <= MAX_FACES:
        raise BadInputError(f'"{name}" is not complete: copy or export it again.')
    return content[:length] if triangles else content
