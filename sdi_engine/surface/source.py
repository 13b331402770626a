"""The mesh that a texture is made for, as its maker has it, and `source.npz`, the file that holds it."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..contract import source_mesh as names
from ..errors import BadInputError
from ..system.files import open_to_read
from .normals import corner_normals, doubled_areas

FRAME = 1.55
"""The images' height at the origin, scene units, that the starter prior's own pictures have."""

HEIGHT_IN_FRAME = 1.0 / FRAME
RADIUS_IN_FRAME = 0.6 / FRAME
"""An upright cylinder of this height and radius, as shares of the images' height, holds the object; one of the two is
touched. The starter prior's pictures are made so, and of other models' wishes nothing is known."""

NO_AREA = 1e-15
"""Twice the area, in units of the mesh's size, of a triangle whose corners lie on a line, with rounding."""

NO_EXTENT = 1e-5
"""Size of a mesh against its distance from the origin; float32 has fewer than 200 places across a smaller one."""


@dataclass(frozen=True)
class Place:
    """Where a mesh stands, and how it faces: from the source's own place and size to scene units; directions back, too.

    Attributes:
        centre: (3,) float64, of the bounding box along the front's axes, in the source's lengths.
        scale: scene units per source's unit of length.
        front: degrees by which the front is turned about Z; 0 faces −Y, 90 faces +X.
    """

    centre: NDArray[np.float64]
    scale: float
    front: float

    def normalised(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (…, 3) of the source in scene units: centred, the front facing −Y."""
        return ((np.asarray(points, np.float64) - self.centre) @ _turn(-self.front).T * self.scale).astype(np.float32)

    def normalised_directions(self, directions: NDArray[np.floating]) -> NDArray[np.float32]:
        """Unit vectors (…, 3) of the source as they are in the scene."""
        return (np.asarray(directions, np.float64) @ _turn(-self.front).T).astype(np.float32)

    def directions_back(self, directions: NDArray[np.floating]) -> NDArray[np.float64]:
        """Vectors (…, 3) of the scene, in scene units, as they are turned in the source."""
        return np.asarray(directions, np.float64) @ _turn(self.front).T


@dataclass(frozen=True)
class SourceMesh:
    """A mesh that somebody made, checked (`checked`): see `contract/source_mesh.py` for the meaning of the arrays.

    Attributes:
        vertices: (V, 3), the source's own place and size, Blender's axes; finite.
        faces: (F, 3), at least one; counter-clockwise seen from outside, or so its maker says.
        uv: (F, 3, 2); may be NaN or lie outside 0…1. None where there is no UV map.
        normals: (F, 3, 3), as they came; `shading_normals` are those to use.
        painted: (F,), which faces get a new look, at least one; None: all.
        look: (n, n, 3), sRGB, on the UV map, row 0 at v = 1.
        look_corners: (F, 3, 3), sRGB.
        rest: (V, 3), the vertices before the object's place and its modifiers; may be NaN. None: unknown.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    painted: NDArray[np.bool_] | None = None
    look: NDArray[np.uint8] | None = None
    look_corners: NDArray[np.uint8] | None = None
    rest: NDArray[np.float32] | None = None

    @cached_property
    def painted_faces(self) -> NDArray[np.bool_]:
        """(F,), which faces get a new look."""
        return np.ones(len(self.faces), bool) if self.painted is None else self.painted

    @cached_property
    def shading_normals(self) -> NDArray[np.float32]:
        """(F, 3, 3), unit vectors at every corner: those given, or computed ones where they are missing or broken."""
        return corner_normals(self.vertices, self.faces, self.normals)

    def place(self, front: float = 0.0, frame: float = FRAME) -> Place:
        """Where the mesh is, and how large, among cameras whose images are `frame` scene units high at the origin.

        Args:
            front: degrees by which the front is turned about Z.

        Raises:
            BadInputError: the mesh has no extent, or hardly any against its distance from the origin.
        """
        used = np.unique(self.faces)
        turned = self.vertices[used].astype(np.float64) @ _turn(-front).T
        low, high = turned.min(axis=0), turned.max(axis=0)
        middle = (low + high) / 2.0
        radius = np.linalg.norm((turned - middle)[:, :2], axis=1).max()
        size = max(radius / RADIUS_IN_FRAME, (high - low)[2] / HEIGHT_IN_FRAME)
        if size <= NO_EXTENT * max(1e-12, np.abs(middle).max()):
            raise BadInputError(
                "The mesh is a single point, or so far from the origin that its shape is lost there: move it nearer, "
                "or give one that has a surface."
            )
        return Place(_turn(front) @ middle, float(frame / size), front)


def checked(mesh: SourceMesh) -> SourceMesh:
    """The same mesh, if it can be given a texture.

    Raises:
        BadInputError: it is empty, too large, or its arrays do not fit each other; one sentence.
    """
    faces = len(mesh.faces)
    if not faces or not len(mesh.vertices):
        raise BadInputError("The mesh has no faces, so there is nothing to paint: give one that has a surface.")
    if faces > names.MAX_FACES or len(mesh.vertices) > names.MAX_VERTICES:
        raise BadInputError(
            f"The mesh has {faces:,} triangles, and at most {names.MAX_FACES:,} can be painted: simplify it."
        )
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise BadInputError("The mesh has a face with a vertex that does not exist: export it again.")
    if not np.isfinite(mesh.vertices).all() or np.abs(mesh.vertices).max() > names.MAX_COORDINATE:
        raise BadInputError("The mesh has vertices that are NaN, infinite or far too large: mend or delete them.")
    if np.abs(doubled_areas(mesh.vertices, mesh.faces)).max() < NO_AREA:
        raise BadInputError("No face of the mesh has an area, so there is nothing to paint: give one with a surface.")
    if mesh.painted is not None and not mesh.painted.any():
        raise BadInputError("No face is selected to be painted: select some, or paint the whole mesh.")
    return mesh


def read_source(file: Path) -> SourceMesh:
    """Read `source.npz`, which may be anybody's: nothing is read that the header does not allow.

    Raises:
        BadInputError: it is missing, damaged, larger than it may be, or no such mesh; one sentence.
    """
    try:
        with open_to_read(file) as opened, zipfile.ZipFile(opened) as archive:
            members = {member.filename: member for member in archive.infolist()}
            arrays = {
                name: _array(archive, members[f"{name}.npy"], name) for name in names.DTYPES if f"{name}.npy" in members
            }
    except OSError as error:
        raise BadInputError(f'"{file}" cannot be read ({error.strerror or error}): start the job again.') from error
    except (zipfile.BadZipFile, ValueError, TypeError, KeyError, EOFError, RuntimeError, SyntaxError) as error:
        raise BadInputError(f'"{file}" is damaged ({error}): start the job again.') from error
    if names.VERTICES not in arrays or names.FACES not in arrays:
        raise BadInputError(f'"{file}" has no vertices or faces: start the job again.')
    mesh = SourceMesh(**arrays)
    for name in (names.UV, names.NORMALS, names.PAINTED, names.LOOK_CORNERS):
        if name in arrays and len(arrays[name]) != len(mesh.faces):
            raise BadInputError(f'"{file}" has {name} for another number of faces: start the job again.')
    if mesh.rest is not None and len(mesh.rest) != len(mesh.vertices):
        raise BadInputError(f'"{file}" has {names.REST} for another number of vertices: start the job again.')
    return checked(mesh)


def write_source(file: Path, mesh: SourceMesh) -> None:
    """Write `source.npz`; raises OSError."""
    arrays = {name: getattr(mesh, name) for name in names.DTYPES if getattr(mesh, name) is not None}
    np.savez(file, **{name: np.ascontiguousarray(array, _dtype(name)) for name, array in arrays.items()})


_SHAPES: dict[str, tuple[int | None, ...]] = {
    names.VERTICES: (names.MAX_VERTICES, 3),
    names.FACES: (names.MAX_FACES, 3),
    names.UV: (names.MAX_FACES, 3, 2),
    names.NORMALS: (names.MAX_FACES, 3, 3),
    names.PAINTED: (names.MAX_FACES,),
    names.LOOK: (names.MAX_LOOK_EDGE, names.MAX_LOOK_EDGE, 3),
    names.LOOK_CORNERS: (names.MAX_FACES, 3, 3),
    names.REST: (names.MAX_VERTICES, 3),
}
"""Shapes of the arrays: the first number is the most that there may be, as are both edges of the picture."""


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """One array, if its header describes one such as the format has, and its data is as long as that."""
    with archive.open(member) as opened:
        version = npy.read_magic(opened)
        if version not in ((1, 0), (2, 0)):
            raise ValueError("an array of an unknown version")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read_header(opened, max_header_size=1000)
        limits = _SHAPES[name]
        if dtype != _dtype(name) or is_fortran or len(shape) != len(limits):
            raise ValueError(f"{name} of another type or shape than a mesh has")
        fixed = shape[1:] == limits[1:]
        if name == names.LOOK:
            fixed = shape[0] == shape[1] > 0 and shape[2] == 3
        if not fixed or (shape[0] > limits[0]):
            raise ValueError(f"{name} has the shape {shape}, and that is too large or none of a mesh")
        length = math.prod(shape) * dtype.itemsize
        content = opened.read(length + 1)
    if len(content) != length:
        raise ValueError(f"{name} is shorter or longer than its header says")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=True)


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(names.DTYPES[name]).newbyteorder("<")


def _turn(degrees: float) -> NDArray[np.float64]:
    """The rotation about Z by so many degrees, counter-clockwise seen from above; exact for quarter turns."""
    if degrees % 90.0 == 0.0:
        cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][int(degrees // 90) % 4]
    else:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
