"""A mesh from a file: GLB, glTF, OBJ, PLY or STL, read by trimesh."""

from __future__ import annotations

import io
import logging
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.resolvers import FilePathResolver

from ..contract.source_mesh import MAX_FACES
from ..errors import BadInputError, is_out_of_memory
from .gltf import ready_gltf
from .joining import Part, joined
from .looks import look_of
from .obj import ready_obj
from .orientation import inside_out
from .source import SourceMesh, checked

MAX_FILE_BYTES = 2 * 2**30

Y_UP = (".glb", ".gltf", ".obj")
Z_UP = (".ply", ".stl")
"""Kinds of files that can be read, by what is up in them, as Blender's importers take it."""

_Z_FROM_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

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
    if kind in (".glb", ".gltf"):
        content = ready_gltf(content, kind, file.name)
    elif kind == ".obj":
        _refuse_backward_references(content, file.name)
        content = ready_obj(content, file.name)
    try:
        scene = trimesh.load_scene(
            io.BytesIO(content),
            file_type=kind[1:],
            resolver=FilePathResolver(str(file.absolute())),
            process=False,
        )
        parts = _parts(scene, kind)
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
        things = "points or curves" if scene.geometry else "nothing"
        raise BadInputError(f'"{file.name}" has {things} in it, and no faces: give a mesh that has a surface.')
    mesh, notices = joined(parts)
    return _outwards(checked(mesh)), notices


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


def _parts(scene: trimesh.Scene, kind: str) -> list[Part]:
    """The meshes of a scene in their places; points and curves are left out."""
    parts, faces = [], 0
    axes = _Z_FROM_Y_UP if kind in Y_UP else np.eye(3)
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
            continue
        faces += len(mesh.faces)
        if faces > MAX_FACES:
            raise BadInputError(f"The mesh has more than {MAX_FACES:,} triangles: simplify it.")
        parts.append(_part(mesh, axes @ np.asarray(transform)[:3], kind))
    return parts


def _part(mesh: trimesh.Trimesh, transform: NDArray[np.float64], kind: str) -> Part:
    """One mesh, placed by `transform` (3, 4); turned inside out by a mirroring one, its triangles are turned back."""
    vertices = np.asarray(mesh.vertices, np.float64) @ transform[:, :3].T + transform[:, 3]
    faces = np.asarray(mesh.faces, np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise BadInputError("The mesh has a face with a vertex that does not exist: export it again.")
    uv = getattr(mesh.visual, "uv", None)
    has_map = uv is not None and np.shape(uv) == (len(vertices), 2)
    part = Part(vertices, faces, np.asarray(uv, np.float64)[faces] if has_map else None, look_of(mesh, kind))
    return part.mirrored() if np.linalg.det(transform[:, :3]) < 0.0 else part


def _outwards(mesh: SourceMesh) -> SourceMesh:
    """The mesh with closed pieces that are inside out turned over."""
    wrong = inside_out(mesh.vertices, mesh.faces)
    changed = {}
    for name in ("faces", "uv", "look_corners") if wrong.any() else ():
        array = getattr(mesh, name)
        if array is not None:
            changed[name] = np.where(wrong.reshape(-1, *[1] * (array.ndim - 1)), array[:, ::-1], array)
    return replace(mesh, **changed)


def _refuse_backward_references(content: bytes, name: str) -> None:
    """Refuse an OBJ file that counts vertices from the end while more of them follow: trimesh would take others."""
    first_face = content.find(b"\nf ")
    if content.find(b"\nf -") >= 0 and content.rfind(b"\nv ") > first_face:
        raise BadInputError(
            f'"{name}" counts vertices backwards (as in "f -3 -2 -1"), which cannot be read: open it in Blender and '
            "export it again."
        )
