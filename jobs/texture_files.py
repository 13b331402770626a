"""What Blender reads of a job about a mesh that there is, checked before use. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..sdi_engine.contract import source_mesh
from ..sdi_engine.contract.job_folder import JobFolder, storage_errors
from ..sdi_engine.system.files import is_there, open_to_read, read_bytes, write_atomically
from .arrays import UnsoundFileError, read_array
from .inspection import MAX_TEXTURE_EDGE, PNG_HEADER_BYTES, check_png, numbers

CORNERS = "corners"
TOPOLOGY = "topology"
"""Arrays of `source.npz` that only Blender uses, as in `TextureFiles`."""

MAX_SOURCE_BYTES = 2**30
"""Five million triangles and the largest picture take less."""


@dataclass(frozen=True)
class TextureFiles:
    """F triangles of the source, in its order, as bytes of little endian numbers.

    Attributes:
        corners: (F, 3) int32, which loop of the evaluated mesh a triangle's corner is; none is negative.
        topology: (4,) int64, `scene.source_mesh.topology_of` that mesh.
        uv: (F, 3, 2) float32 per corner, of the UV map that the source had, where it may be NaN; None if it had none.
        new_uv: the same of the UV map that was made for the texture, finite; None if it is on the source's own.
        painted: (F,) bool, the triangles that got a new look; None: all.
    """

    corners: bytes
    topology: bytes
    uv: bytes | None
    new_uv: bytes | None
    painted: bytes | None


@dataclass(frozen=True)
class SourceOf:
    """The mesh of a job, for another job."""

    folder: JobFolder

    def write(self, path: Path) -> None:
        """Write the same as another job's `source.npz`; raises StorageError."""
        with storage_errors(self.folder.path):
            write_atomically(path, read_bytes(self.folder.source_file, MAX_SOURCE_BYTES))


def check_texture(folder: JobFolder) -> None:
    """Check that a job's texture is a PNG of a size that can be asked for.

    Raises:
        UnsoundFileError: it is not.
        OSError: there is none, or it cannot be read.
    """
    with open_to_read(folder.texture_file) as opened:
        check_png(opened.read(PNG_HEADER_BYTES), MAX_TEXTURE_EDGE)


@dataclass(frozen=True)
class MovedFiles:
    """V vertices and F triangles of a source whose shape was refined, as bytes of little endian numbers.

    Attributes:
        before: (V, 3) float32, the source's vertices.
        faces: (F, 3) int32, the source's triangles, of vertices that exist.
        after: (V, 3) float32, finite, where the vertices are now.
        rest: (V, 3) float32, finite, where the source's vertices are before modifiers, in the object's own space; None
            if modifiers make other vertices.
    """

    before: bytes
    faces: bytes
    after: bytes
    rest: bytes | None


def read_moved(folder: JobFolder) -> MovedFiles:
    """The vertices of a job's source before and after.

    Raises:
        UnsoundFileError: a file is damaged, or they are of two meshes.
        OSError: one is missing, or cannot be read.
    """
    before = read_array(folder.source_file, source_mesh.VERTICES, "<f4", (3,), source_mesh.MAX_VERTICES)
    faces = read_array(folder.source_file, source_mesh.FACES, "<i4", (3,), source_mesh.MAX_FACES)
    after = read_array(folder.moved_file, source_mesh.VERTICES, "<f4", (3,), source_mesh.MAX_VERTICES)
    if before is None or faces is None or after is None:
        raise UnsoundFileError("its vertices or faces are missing")
    rest = read_array(folder.source_file, source_mesh.REST, "<f4", (3,), source_mesh.MAX_VERTICES)
    of_all = [before, after] if rest is None else [before, after, rest]
    if any(len(each) != len(before) for each in of_all):
        raise UnsoundFileError("its moved vertices are of another mesh")
    if not 0 <= min(indices := numbers("i", faces)) <= max(indices) < len(before) // 12:
        raise UnsoundFileError("a face has a vertex that does not exist")
    if not all(math.isfinite(sum(numbers("f", each))) for each in of_all):
        raise UnsoundFileError("a vertex is NaN or infinite")
    return MovedFiles(before, faces, after, rest)


def read(folder: JobFolder) -> TextureFiles:
    """The arrays of a job's source, and those of its new UV map.

    Raises:
        UnsoundFileError: a file is damaged, or does not fit the others.
        OSError: the source is missing, or a file cannot be read.
    """
    most = source_mesh.MAX_FACES
    source = folder.source_file
    corners = read_array(source, CORNERS, "<i4", (3,), most)
    topology = read_array(source, TOPOLOGY, "<i8", (), 4)
    if corners is None or topology is None or len(topology) != 4 * 8:
        raise UnsoundFileError("it was not written by Blender")
    if min(numbers("i", corners)) < 0:
        raise UnsoundFileError("a corner does not exist")
    faces = len(corners) // 12
    uv = read_array(source, source_mesh.UV, "<f4", (3, 2), most)
    painted = read_array(source, source_mesh.PAINTED, "|b1", (), most)
    new_uv = read_array(folder.uv_file, source_mesh.UV, "<f4", (3, 2), most) if is_there(folder.uv_file) else None
    for name, content, size in (("uv", uv, 24), ("new UV map", new_uv, 24), ("painted", painted, 1)):
        if content is not None and len(content) != faces * size:
            raise UnsoundFileError(f"its {name} is of another mesh")
    if new_uv is not None and not math.isfinite(sum(numbers("f", new_uv))):
        raise UnsoundFileError("a UV is NaN or infinite")
    return TextureFiles(corners, topology, uv, new_uv, painted)
