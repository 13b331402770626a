"""A mesh from a file: GLB, glTF, OBJ, PLY or STL, read by trimesh."""

from __future__ import annotations

import io
import logging
import stat
from collections.abc import Mapping, Sequence
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
from .mtl import ready_mtl
from .named_pictures import NamedPicture, listed, moved
from .obj import ready_obj, used_materials
from .obj_lines import plain_lines
from .orientation import inside_out
from .source import SourceMesh, checked

MAX_FILE_BYTES = 2 * 2**30

Y_UP = (".glb", ".gltf", ".obj")
Z_UP = (".ply", ".stl")
"""Kinds of files that can be read, by what is up in them, as Blender's importers take it."""

_Z_FROM_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

_UNREAD = "Plain colours take the place of pictures that are missing or cannot be read (PNG and JPEG can)"
_NOWHERE = "Plain colours take the place of pictures for which there are no UV coordinates"
_UNKNOWN = "No colours are known of materials that no file beside the mesh describes"
"""Beginnings of notices, which names follow."""

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
    beside = _Beside(file)
    told: tuple[str, ...] = ()
    if kind in (".glb", ".gltf"):
        content, beside.pictures, told = ready_gltf(content, kind, file.name)
    elif kind == ".obj":
        content = ready_obj(plain_lines(content, file.name), file.name)
    try:
        scene = trimesh.load_scene(io.BytesIO(content), file_type=kind[1:], resolver=beside, process=False)
        if kind == ".ply":
            _refuse_incomplete(scene, file.name)
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
        what = "has points or curves in it, and" if scene.geometry else "is damaged, or has"
        raise BadInputError(f'"{file.name}" {what} no faces: give a mesh that has a surface.')
    if kind == ".obj":
        lost += _sentence(_UNKNOWN, [name for name in used_materials(content) if name not in beside.pictures])
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


class _Beside(FilePathResolver):
    """What trimesh reads beside a mesh file, from its own folder and those below it only.

    Attributes:
        pictures: of the materials, by these names, as the file or the files beside it say.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file.absolute()))
        self.pictures: dict[str | None, NamedPicture | None] = {}
        self._kind = file.suffix.lower()

    def get(self, name: str) -> bytes:
        if self._kind == ".ply":  # which has one picture, and materials without names
            self.pictures[None] = NamedPicture(name)
        content = super().get(name)
        if self._kind == ".obj" and name.lower().endswith(".mtl"):
            content, pictures = ready_mtl(content)
            self.pictures.update(pictures)
        return content


def _parts(
    scene: trimesh.Scene, kind: str, pictures: Mapping[str | None, NamedPicture | None]
) -> tuple[list[Part], tuple[str, ...]]:
    """The meshes of a scene in their places, without points and curves; and what is lost of their looks."""
    parts, faces = [], 0
    unread, nowhere = [], []
    axes = _Z_FROM_Y_UP if kind in Y_UP else np.eye(3)
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
            continue
        faces += len(mesh.faces)
        if faces > MAX_FACES:
            raise BadInputError(f"The mesh has more than {MAX_FACES:,} triangles: simplify it.")
        picture = pictures.get(getattr(getattr(mesh.visual, "material", None), "name", None))
        part = _part(mesh, axes @ np.asarray(transform)[:3], kind, picture)
        if picture is not None and part.look.picture is None:
            (nowhere if part.uv is None else unread).append(picture.name)
        parts += _apart(part)
    return parts, _sentence(_UNREAD, unread) + _sentence(_NOWHERE, nowhere)


def _part(mesh: trimesh.Trimesh, transform: NDArray[np.float64], kind: str, picture: NamedPicture | None) -> Part:
    """One mesh, placed by `transform` (3, 4); turned inside out by a mirroring one, its triangles are turned back."""
    vertices = np.asarray(mesh.vertices, np.float64) @ transform[:, :3].T + transform[:, 3]
    faces = np.asarray(mesh.faces, np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise BadInputError("The mesh has a face with a vertex that does not exist: export it again.")
    uv = getattr(mesh.visual, "uv", None)
    has_map = uv is not None and np.shape(uv) == (len(vertices), 2)
    part = Part(vertices, faces, np.asarray(uv, np.float64)[faces] if has_map else None, look_of(mesh, kind))
    if part.uv is not None and part.look.picture is not None and picture is not None:
        part = _laid(part, picture)
    return part.mirrored() if np.linalg.det(transform[:, :3]) < 0.0 else part


def _laid(part: Part, picture: NamedPicture) -> Part:
    """A part whose picture may lie elsewhere than its UV map says: on the map that it does lie on or, where that leaves
    the square and the own one does not, with what leads from this to that."""
    there = moved(part.uv, picture.move)
    if _is_in_square(there):
        return replace(part, uv=there)
    if not _is_in_square(part.uv):
        return replace(part, uv=there, look=replace(part.look, wrap=picture.wrap))
    return replace(part, look=replace(part.look, move=picture.move, wrap=picture.wrap))


def _is_in_square(uv: NDArray[np.float64]) -> bool:
    return bool(np.nanmin(uv, initial=0.0) >= -1e-3 and np.nanmax(uv, initial=1.0) <= 1.001)


def _apart(part: Part) -> list[Part]:
    """The part, or two where only some of its faces have UV coordinates."""
    if part.uv is None:
        return [part]
    on_map = ~np.isnan(part.uv).any(axis=(1, 2))
    return [each for each in (part.only(on_map), part.only(~on_map).without_map()) if len(each.faces)]


def _sentence(beginning: str, names: Sequence[str]) -> tuple[str, ...]:
    return (f"{beginning}: {listed(names)}.",) if names else ()


def _outwards(mesh: SourceMesh) -> SourceMesh:
    """The mesh with closed pieces that are inside out turned over."""
    wrong = inside_out(mesh.vertices, mesh.faces)
    changed = {}
    for name in ("faces", "uv", "look_corners") if wrong.any() else ():
        array = getattr(mesh, name)
        if array is not None:
            changed[name] = np.where(wrong.reshape(-1, *[1] * (array.ndim - 1)), array[:, ::-1], array)
    return replace(mesh, **changed)


def _refuse_incomplete(scene: trimesh.Scene, name: str) -> None:
    """Refuse a PLY file that has fewer faces than its header says: trimesh takes those that there are."""
    for mesh in scene.geometry.values():
        faces = mesh.metadata.get("_ply_raw", {}).get("face", {})
        data = faces.get("data")
        columns = list(data.values()) if isinstance(data, dict) else [data]
        if data is not None and any(len(column) < faces["length"] for column in columns):
            raise BadInputError(f'"{name}" is not complete: copy or export it again.')
