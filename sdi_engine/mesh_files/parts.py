"""A piece of a mesh file, with its own UV coordinates and look."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..contract.source_mesh import MAX_FACES
from ..errors import BadInputError
from .looks import PartLook
from .named_pictures import NamedPicture, moved, sentence

_UNREAD = "Plain colours take the place of pictures that are missing or cannot be read (PNG and JPEG can)"
_NOWHERE = "Plain colours take the place of pictures for which there are no UV coordinates"
"""Beginnings of notices, which names follow."""


@dataclass(frozen=True)
class Part:
    """Attributes:
    vertices: (V, 3) float64, in place, Z up.
    faces: (F, 3), at least one, of existing vertices.
    uv: (F, 3, 2) of every corner; None: the part has no UV map.
    look: its base colour.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    uv: NDArray[np.float64] | None
    look: PartLook

    def placed(self, transform: NDArray[np.float64]) -> Part:
        """The same part moved by `transform` (3, 4); turned inside out by a mirroring one, its triangles are turned
        back."""
        with np.errstate(invalid="ignore", over="ignore"):  # what is NaN or too large is refused later
            there = replace(self, vertices=self.vertices @ transform[:, :3].T + transform[:, 3])
            return there.mirrored() if np.linalg.det(transform[:, :3]) < 0.0 else there

    def mirrored(self) -> Part:
        """The same part with its triangles turned over."""
        uv = None if self.uv is None else self.uv[:, ::-1]
        return replace(self, faces=self.faces[:, ::-1], uv=uv, look=self.look.mirrored())

    def only(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Part:
        """The same part with those of its triangles only: a mask, or their numbers."""
        uv = None if self.uv is None else self.uv[which]
        used, faces = np.unique(self.faces[which], return_inverse=True)
        return Part(self.vertices[used], faces.reshape(-1, 3), uv, self.look.only(which))

    def without_map(self) -> Part:
        """The same part without UV coordinates, and without a picture."""
        return replace(self, uv=None, look=PartLook(corners=self.look.corners))

    def laid(self, picture: NamedPicture) -> Part:
        """The same part, whose picture may lie elsewhere than its UV map says: on the map that it does lie on or, where
        that leaves the square and the own one does not, with what leads from this to that."""
        if self.uv is None or self.look.picture is None:
            return self
        there = moved(self.uv, picture.move)
        if _is_in_square(there):
            return replace(self, uv=there)
        if not _is_in_square(self.uv):
            return replace(self, uv=there, look=replace(self.look, wrap=picture.wrap))
        return replace(self, look=replace(self.look, move=picture.move, wrap=picture.wrap))

    def apart(self) -> list[Part]:
        """The part, or two where only some of its faces have UV coordinates."""
        if self.uv is None:
            return [self]
        on_map = has_uv(self.uv)
        return [each for each in (self.only(on_map), self.only(~on_map).without_map()) if len(each.faces)]


class Losses:
    """The names of pictures that are lost, for notices."""

    def __init__(self) -> None:
        self._unread: list[str] = []
        self._nowhere: list[str] = []

    def compare(self, part: Part, picture: NamedPicture | None) -> None:
        """Note it where a part does not show the picture that its material names, or not on all of its faces."""
        if picture is None:
            return
        if part.uv is None or not has_uv(part.uv).all():
            self._nowhere.append(picture.name)
        elif part.look.picture is None:
            self._unread.append(picture.name)

    @property
    def notices(self) -> tuple[str, ...]:
        """A sentence each."""
        return sentence(_UNREAD, self._unread) + sentence(_NOWHERE, self._nowhere)


def has_uv(uv: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which faces (F,) of a UV map (F, 3, 2) lie on it: those with finite coordinates at all corners."""
    return np.isfinite(uv).all(axis=(1, 2))


def known_map(uv: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """A UV map (F, 3, 2), None if no face lies on it."""
    return uv if uv is not None and has_uv(uv).any() else None


def counted(faces: int) -> int:
    """The number of a mesh's triangles.

    Raises:
        BadInputError: it is too large.
    """
    if faces > MAX_FACES:
        raise BadInputError(f"The mesh has more than {MAX_FACES:,} triangles: simplify it.")
    return faces


def existing(faces: NDArray[np.integer], vertices: int) -> NDArray[np.int64]:
    """The same triangles, if they have existing vertices.

    Raises:
        BadInputError: they have not.
    """
    if len(faces) and (faces.min() < 0 or faces.max() >= vertices):
        raise BadInputError("The mesh has a face with a vertex that does not exist: export it again.")
    return np.asarray(faces, np.int64)


def _is_in_square(uv: NDArray[np.float64]) -> bool:
    return bool(np.nanmin(uv, initial=0.0) >= -1e-3 and np.nanmax(uv, initial=1.0) <= 1.001)
