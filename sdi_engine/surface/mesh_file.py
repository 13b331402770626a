"""A mesh from a file: GLB, glTF, OBJ, PLY or STL, read by trimesh."""

from __future__ import annotations

import io
import logging
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh

from ..errors import BadInputError, is_out_of_memory
from .beside import Beside
from .gltf import ready_gltf
from .joining import joined
from .looks import look_of
from .named_pictures import NamedPicture, sentence
from .obj import ready_obj, used_materials
from .obj_lines import plain_lines
from .orientation import inside_out
from .parts import Losses, Part, counted, existing
from .ply import ply_parts
from .source import SourceMesh, checked

MAX_FILE_BYTES = 2 * 2**30

Y_UP = (".glb", ".gltf", ".obj")
Z_UP = (".ply", ".stl")
"""Kinds of files that can be read, by what is up in them, as Blender's importers take it."""

_Z_FROM_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

_UNKNOWN = "No colours are known of materials that no file beside the mesh describes"
"""Beginning of a notice, which names follow."""

_logger = logging.getLogger(__name__)


def source_from_file(file: Path) -> tuple[SourceMesh, tuple[str, ...]]:
    """The mesh in a file, all its objects in their places as one, Z up; and what a person should know of it.

    Pictures and buffers that the file names are read from its own folder and those below it only.

    Returns:
        The mesh, and notices, a sentence each.

    Raises:
        BadInputError: it is missing, damaged, too large, of another kind, or has no surface; one sentence.
    """
    content = _content(file)
    kind = file.suffix.lower()
    beside = Beside(file)
    told: tuple[str, ...] = ()
    if kind in (".glb", ".gltf"):
        content, beside.pictures, told = ready_gltf(content, kind, file.name)
    elif kind == ".obj":
        content = ready_obj(plain_lines(content, file.name), file.name)
    try:
        if kind == ".ply":
            parts, lost = ply_parts(content, file.name, beside)
        else:
            scene = trimesh.load_scene(io.BytesIO(content), file_type=kind[1:], resolver=beside, process=False)
            parts, lost = _parts(scene, kind, beside.pictures)
    except BadInputError:
        raise
    except Exception as error:  # a damaged file can make trimesh's readers raise anything
        if is_out_of_memory(error):
            raise
        _logger.debug("trimesh cannot read %s", file, exc_info=True)
        raise BadInputError(
            f'"{file.name}" is damaged, or no {kind[1:].upper()} file: export it again ({type(error).__name__}).'
        ) from error
    if not parts:
        raise BadInputError(
            f'"{file.name}" has no faces (points and curves are none), or is damaged: give a mesh that has a surface.'
        )
    if kind == ".obj":
        lost += sentence(_UNKNOWN, [name for name in used_materials(content) if name not in beside.pictures])
    mesh, notices = joined(parts)
    return _outwards(checked(mesh)), (*told, *lost, *notices)


def _content(file: Path) -> bytes:
    known = ", ".join(kind[1:].upper() for kind in Y_UP + Z_UP)
    if file.suffix.lower() not in Y_UP + Z_UP:
        raise BadInputError(f'"{file.name}" is no mesh file that can be read: give one of {known}.')
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadInputError(f'"{file}" is no file: give a mesh as {known}.')
        if status.st_size > MAX_FILE_BYTES:
            raise BadInputError(f'"{file.name}" is larger than {MAX_FILE_BYTES / 2**30:.0f} GiB: simplify the mesh.')
        content = file.read_bytes()
    except OSError as error:
        raise BadInputError(f'"{file}" cannot be read ({error.strerror or error}): check the path.') from error
    except ValueError as error:  # a NUL in the path
        raise BadInputError(f"This path of a mesh cannot be used ({error}): check it.") from error
    if not content:
        raise BadInputError(f'"{file.name}" is empty: export it again.')
    return content


def _parts(
    scene: trimesh.Scene, kind: str, pictures: Mapping[str | None, NamedPicture | None]
) -> tuple[list[Part], tuple[str, ...]]:
    """The meshes of a scene in their places, without points and curves; and what is lost of their looks."""
    parts, faces, losses = [], 0, Losses()
    axes = _Z_FROM_Y_UP if kind in Y_UP else np.eye(3)
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
            continue
        faces = counted(faces + len(mesh.faces))
        picture = pictures.get(getattr(getattr(mesh.visual, "material", None), "name", None))
        part = _part(mesh, kind)
        losses.compare(part, picture)
        if picture is not None:
            part = part.laid(picture)
        parts += part.placed(axes @ np.asarray(transform)[:3]).apart()
    return parts, losses.notices


def _part(mesh: trimesh.Trimesh, kind: str) -> Part:
    vertices = np.asarray(mesh.vertices, np.float64)
    faces = existing(np.asarray(mesh.faces), len(vertices))
    uv = getattr(mesh.visual, "uv", None)
    has_map = uv is not None and np.shape(uv) == (len(vertices), 2)
    return Part(vertices, faces, np.asarray(uv, np.float64)[faces] if has_map else None, look_of(mesh, kind))


def _outwards(mesh: SourceMesh) -> SourceMesh:
    """The mesh with closed pieces that are inside out turned over."""
    wrong = inside_out(mesh.vertices, mesh.faces)
    changed = {}
    for name in ("faces", "uv", "look_corners") if wrong.any() else ():
        array = getattr(mesh, name)
        if array is not None:
            changed[name] = np.where(wrong.reshape(-1, *[1] * (array.ndim - 1)), array[:, ::-1], array)
    return replace(mesh, **changed)
