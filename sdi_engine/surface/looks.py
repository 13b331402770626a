"""The base colours that trimesh has read: a picture, one colour, or one of every vertex or face."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

from ..contract.source_mesh import MAX_LOOK_EDGE
from .gltf import NO_MATERIAL
from .named_pictures import REPEAT, Wrap

MAX_PICTURE_EDGE = 4096
"""Pixels; larger pictures are made smaller."""

_WHITE = np.ones(3)


@dataclass(frozen=True)
class PartLook:
    """The base colour of a part of a mesh; nothing is known of it where all are None.

    Attributes:
        picture: (h, w, 3), sRGB, on the part's UV map, row 0 at v = 1.
        corners: (F, 3, 3), sRGB, of every corner.
        move, wrap: from the UV map to the picture, as in `NamedPicture`.
    """

    picture: NDArray[np.uint8] | None = None
    corners: NDArray[np.uint8] | None = None
    move: NDArray[np.float64] | None = None
    wrap: tuple[Wrap, Wrap] = REPEAT

    @property
    def is_known(self) -> bool:
        """Whether there is any colour."""
        return self.picture is not None or self.corners is not None

    @property
    def is_as_mapped(self) -> bool:
        """Whether a picture lies where the UV map says, and repeats."""
        return self.move is None and self.wrap == REPEAT

    @cached_property
    def shown(self) -> tuple[Hashable, ...] | None:
        """What is equal for parts that show the same picture; None where there is none."""
        move = b"" if self.move is None else self.move.tobytes()
        if self.picture is None:
            return None
        return *self.picture.shape, zlib.crc32(self.picture), zlib.crc32(move), self.wrap


def look_of(mesh: trimesh.Trimesh, kind: str) -> PartLook:
    """The base colour of a mesh that trimesh has read from a file of this kind (".glb"); of a picture that cannot be
    read the plain colour of its material."""
    visual, faces = mesh.visual, np.asarray(mesh.faces)
    is_linear = kind in (".glb", ".gltf")
    if isinstance(visual, TextureVisuals):
        picture, factor, plain = _material(visual, kind)
        if picture is not None and _is_placeholder(picture):
            return PartLook()
        shown = None if picture is None or visual.uv is None else picture_of(picture, factor)
        if shown is not None:
            return PartLook(picture=shown)
        colours = visual.vertex_attributes.get("color") if visual.vertex_attributes else None
        if colours is not None and len(colours) == len(mesh.vertices):
            return PartLook(corners=as_bytes(srgb_of(_fractions(colours)[:, :3] * plain))[faces])
        if getattr(visual.material, "name", None) == NO_MATERIAL or not kind.startswith((".g", ".o")):
            return PartLook()
        return PartLook(corners=np.broadcast_to(as_bytes(srgb_of(plain)), (len(faces), 3, 3)))
    if isinstance(visual, ColorVisuals) and visual.kind == "face":
        return PartLook(corners=np.repeat(visual.face_colors[:, None, :3], 3, axis=1))
    if isinstance(visual, ColorVisuals) and visual.kind == "vertex":
        colours = np.asarray(visual.vertex_colors[:, :3])
        return PartLook(corners=(as_bytes(srgb_of(colours / 255.0)) if is_linear else colours)[faces])
    return PartLook()


def srgb_of(linear: NDArray[np.floating]) -> NDArray[np.float64]:
    """sRGB of linear colours, both in 0…1."""
    linear = np.clip(np.nan_to_num(linear), 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055)


def linear_of(srgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """Linear colours of sRGB ones, both in 0…1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def picture_of(picture: Image.Image, factor: NDArray[np.float64] = _WHITE) -> NDArray[np.uint8] | None:
    """(h, w, 3), sRGB, multiplied by a linear factor (3,); None if the picture is damaged or far too large."""
    width, height = picture.size
    if max(width, height) > 2 * MAX_LOOK_EDGE:
        return None
    try:
        if picture.mode.startswith("I"):  # 16 bits, of which convert would make white all that is above 255
            picture = Image.fromarray((np.asarray(picture, np.float64) / 257.0 + 0.5).clip(0.0, 255.0).astype(np.uint8))
        picture = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, IndexError, struct.error):  # what Pillow raises reading on
        return None
    if max(width, height) > MAX_PICTURE_EDGE:
        picture.thumbnail((MAX_PICTURE_EDGE, MAX_PICTURE_EDGE))
    colours = np.ascontiguousarray(picture)
    if np.allclose(factor, 1.0):
        return colours
    table = srgb_of(linear_of(np.arange(256)[:, None] / 255.0) * factor)
    return np.stack([as_bytes(table[:, channel])[colours[..., channel]] for channel in range(3)], axis=-1)


def as_bytes(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Of numbers in 0…1; NaN is 0."""
    return (np.clip(np.nan_to_num(colours), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _fractions(colours: NDArray[np.generic]) -> NDArray[np.float64]:
    """Colours as files have them, of 8 or 16 bits or floats, in 0…1."""
    largest = np.iinfo(colours.dtype).max if colours.dtype.kind == "u" else 1.0
    return np.clip(np.nan_to_num(np.asarray(colours, np.float64) / largest), 0.0, 1.0)


def _material(visual: TextureVisuals, kind: str) -> tuple[Image.Image | None, NDArray[np.float64], NDArray[np.float64]]:
    """A material's picture, the linear colour by which it is multiplied, and that of the material without it."""
    material = visual.material
    white = np.ones(3)
    if isinstance(material, PBRMaterial):
        picture, colour = material.baseColorTexture, material.baseColorFactor  # bytes, or None
    else:
        picture, colour = getattr(material, "image", None), getattr(material, "diffuse", None)
    plain = white if colour is None or kind == ".ply" else np.asarray(colour, float)[:3] / 255.0
    # OBJ's picture stands for the colour
    return picture, plain if isinstance(material, PBRMaterial) else white, plain


def _is_placeholder(picture: Image.Image) -> bool:
    """Whether trimesh has made up the picture, since there is none."""
    return picture.format is None and max(picture.size) <= 2
