"""The base colours of parts of a mesh: pictures, and colours at the corners."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from trimesh.resolvers import FilePathResolver

from ..contract.source_mesh import MAX_LOOK_EDGE
from ..surface.look import REPEAT, Wrap

MAX_PICTURE_EDGE = 4096
"""Pixels; larger pictures are made smaller."""

_WHITE = np.ones(3)

_DAMAGED = (OSError, ValueError, SyntaxError, IndexError, struct.error)
"""What Pillow raises, reading a picture."""


@dataclass(frozen=True)
class PartLook:
    """The base colour of a part of a mesh; nothing is known of it where all are None.

    Attributes:
        picture: (h, w, 3), sRGB, on the part's UV map, row 0 at v = 1.
        tint: (F, 3, 3), linear, of every corner, by which the picture is multiplied; None: it is as it is.
        corners: (F, 3, 3), sRGB, of every corner, where there is no picture.
        move, wrap: from the UV map to the picture, as in `NamedPicture`.
    """

    picture: NDArray[np.uint8] | None = None
    tint: NDArray[np.float32] | None = None
    corners: NDArray[np.uint8] | None = None
    move: NDArray[np.float64] | None = None
    wrap: tuple[Wrap, Wrap] = REPEAT

    @property
    def is_known(self) -> bool:
        """Whether there is any colour."""
        return self.picture is not None or self.corners is not None

    @property
    def is_as_mapped(self) -> bool:
        """Whether a picture lies where the UV map says, and repeats, in its own colours."""
        return self.move is None and self.wrap == REPEAT and self.tint is None

    def mirrored(self) -> PartLook:
        """The same for triangles that are turned over."""
        tint, corners = (None if each is None else each[:, ::-1] for each in (self.tint, self.corners))
        return replace(self, tint=tint, corners=corners)

    def only(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> PartLook:
        """The same for those of the triangles only."""
        tint, corners = (None if each is None else each[which] for each in (self.tint, self.corners))
        return replace(self, tint=tint, corners=corners)


def shown_by(looks: Sequence[PartLook]) -> list[tuple[Hashable, ...] | None]:
    """For each look what is equal for those that show the same picture; None where there is none.

    A picture that many share is read once.
    """
    pictures = {id(look.picture): look.picture for look in looks if look.picture is not None}
    held = {number: (*picture.shape, zlib.crc32(picture)) for number, picture in pictures.items()}
    return [
        None if look.picture is None else (*held[id(look.picture)], _sum(look.move), _sum(look.tint), look.wrap)
        for look in looks
    ]


def _sum(numbers: NDArray[Any] | None) -> int:
    return zlib.crc32(b"" if numbers is None else numbers.tobytes())


def srgb_of(linear: NDArray[np.floating]) -> NDArray[np.float64]:
    """sRGB of linear colours, both in 0…1."""
    linear = np.clip(np.nan_to_num(linear), 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055)


def linear_of(srgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """Linear colours of sRGB ones, both in 0…1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def picture_beside(beside: FilePathResolver, name: str) -> NDArray[np.uint8] | None:
    """`picture_in` a file of this name; None, too, if it is missing or elsewhere."""
    try:
        return picture_in(beside.get(name.replace("\\", "/")))
    except (OSError, ValueError):
        return None


def picture_in(content: bytes, factor: NDArray[np.float64] = _WHITE) -> NDArray[np.uint8] | None:
    """The picture (h, w, 3) of a file, sRGB, multiplied by a linear factor (3,); None if it is damaged, far too large,
    or of an unknown format."""
    try:
        picture = Image.open(io.BytesIO(content))
        if max(picture.size) > 2 * MAX_LOOK_EDGE or picture.mode == "F":  # of which convert makes black
            return None
        if picture.mode.startswith("I"):  # 16 bits, of which convert would make white all that is above 255
            picture = Image.fromarray((np.asarray(picture, np.float64) / 257.0 + 0.5).clip(0.0, 255.0).astype(np.uint8))
        picture = picture.convert("RGB")
    except (*_DAMAGED, Image.DecompressionBombError):
        return None
    if max(picture.size) > MAX_PICTURE_EDGE:
        picture.thumbnail((MAX_PICTURE_EDGE, MAX_PICTURE_EDGE))
    colours = np.array(picture)
    if np.allclose(factor, 1.0):
        return colours
    table = srgb_of(linear_of(np.arange(256)[:, None] / 255.0) * factor)
    return np.stack([as_bytes(table[:, channel])[colours[..., channel]] for channel in range(3)], axis=-1)


def as_bytes(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Of numbers in 0…1; NaN is 0."""
    return (np.clip(np.nan_to_num(colours), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
