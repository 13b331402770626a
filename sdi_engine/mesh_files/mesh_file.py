"""A mesh from a file: GLB, glTF, OBJ, PLY or STL."""

from __future__ import annotations

import logging
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from trimesh.resolvers import FilePathResolver

from ..errors import BadInputError, is_out_of_memory
from ..surface.orientation import inside_out
from ..surface.source import SourceMesh, checked
from .gltf import gltf_parts
from .joining import joined
from .obj import obj_parts
from .parts import Part
from .ply import ply_parts
from .stl import stl_parts

MAX_FILE_BYTES = 2 * 2**30

MAX_ROUNDING, LOST_BY_ROUNDING = 1e-4, 0.1
"""Shares of a mesh's extent by which its vertices may be moved, where it is far from the origin, before that is said,
and before it is refused."""

Y_UP = (".glb", ".gltf", ".obj")
Z_UP = (".ply", ".stl")
"""Kinds of files that can be read, by what is up in them, as Blender's importers take it."""

_Z_FROM_Y_UP = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
_Z_UP_ALREADY = np.eye(3, 4)

_READERS = {".glb": gltf_parts, ".gltf": gltf_parts, ".obj": obj_parts, ".ply": ply_parts, ".stl": stl_parts}
"""What reads each kind of file."""

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
    try:
        parts, lost = _READERS[kind](content, kind, file.name, FilePathResolver(str(file.absolute())))
    except BadInputError:
        raise
    except Exception as error:  # a damaged file can make readers raise anything
        if is_out_of_memory(error):
            raise
        _logger.debug("%s cannot be read", file, exc_info=True)
        raise BadInputError(
            f'"{file.name}" is damaged, or no {kind[1:].upper()} file: export it again ({type(error).__name__}).'
        ) from error
    if not parts:
        raise BadInputError(
            f'"{file.name}" has no faces (points and curves are none), or is damaged: give a mesh that has a surface.'
        )
    axes = _Z_FROM_Y_UP if kind in Y_UP else _Z_UP_ALREADY
    placed = [piece for part in parts for piece in part.placed(axes).apart()]
    mesh, notices = joined(placed)
    notices = (*lost, *_rounding(placed, mesh), *notices)
    return _outwards(checked(mesh)), notices


def _rounding(parts: Sequence[Part], mesh: SourceMesh) -> tuple[str, ...]:
    """What a person should know of vertices that 32 bits cannot tell apart where they lie.

    Raises:
        BadInputError: nothing of the shape is left.
    """
    exact = np.concatenate([part.vertices for part in parts])
    if not np.isfinite(mesh.vertices).all():
        return ()  # which is said in other words
    moved, extent = np.abs(exact - mesh.vertices).max(), np.ptp(exact, axis=0).max()
    if moved <= MAX_ROUNDING * extent:
        return ()
    if moved > LOST_BY_ROUNDING * extent:
        raise BadInputError(
            "The mesh is so far from the origin that its shape is lost there: move it nearer, and export it again."
        )
    return (
        f"The mesh is so far from the origin that its vertices are rounded there, by up to {moved / extent:.1g} of its "
        "extent: move it nearer, and export it again.",
    )


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


def _outwards(mesh: SourceMesh) -> SourceMesh:
    """The mesh with closed pieces that are inside out turned over."""
    wrong = inside_out(mesh.vertices, mesh.faces)
    changed = {}
    for name in ("faces", "uv", "look_corners") if wrong.any() else ():
        array = getattr(mesh, name)
        if array is not None:
            changed[name] = np.where(wrong.reshape(-1, *[1] * (array.ndim - 1)), array[:, ::-1], array)
    return replace(mesh, **changed)
