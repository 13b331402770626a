"""The base colours that a glTF file's materials have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..surface.look import Wrap
from .gltf_file import GltfFile
from .looks import picture_in
from .named_pictures import NamedPicture, movement

_WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror"}
"""Samplers' numbers of OpenGL; all else repeats."""

_GLOSSY = "KHR_materials_pbrSpecularGlossiness"


@dataclass(frozen=True)
class BaseColour:
    """Attributes:
    factor: (3,), linear, by which the picture is multiplied, or the colour itself.
    picture: its name and place; None: there is none.
    texture: the number of the picture's texture.
    uv_map: the number of the UV coordinates on which the picture lies.
    """

    factor: NDArray[np.float64]
    picture: NamedPicture | None = None
    texture: int = 0
    uv_map: int = 0


def base_colour(document: Any, material: int) -> BaseColour:
    """What a material says of the base colour; of specular and glossy ones the diffuse colour."""
    described = document["materials"][material]
    plain, glossy = described.get("pbrMetallicRoughness", {}), described.get("extensions", {}).get(_GLOSSY, {})
    if "diffuseTexture" in glossy or "diffuseFactor" in glossy:
        factor, info = glossy.get("diffuseFactor", [1.0] * 4), glossy.get("diffuseTexture")
    else:
        factor, info = plain.get("baseColorFactor", [1.0] * 4), plain.get("baseColorTexture")
    factor = np.array(factor[:3], np.float64)
    if not info:
        return BaseColour(factor)
    transform = info.get("extensions", {}).get("KHR_texture_transform", {})
    (across, down), (right, lower) = transform.get("scale", (1.0, 1.0)), transform.get("offset", (0.0, 0.0))
    angle = transform.get("rotation", 0.0)
    # glTF's v begins at the top
    offset = right + down * math.sin(angle), 1.0 - lower - down * math.cos(angle)
    picture = NamedPicture(_name(document, info), movement((across, down), offset, angle), _wrap(document, info))
    return BaseColour(factor, picture, info["index"], transform.get("texCoord", info.get("texCoord", 0)))


class Pictures:
    """The pictures of a file, each read once."""

    def __init__(self, file: GltfFile) -> None:
        self._file = file
        self._read: dict[tuple[int, bytes], NDArray[np.uint8] | None] = {}

    def of(self, texture: int, factor: NDArray[np.float64]) -> NDArray[np.uint8] | None:
        """A texture's picture (h, w, 3), sRGB, multiplied by a linear factor (3,); None if it cannot be read."""
        key = texture, factor.tobytes()
        if key not in self._read:
            shown = (self._image(number, factor) for number in _sources(self._file.document["textures"][texture]))
            self._read[key] = next((each for each in shown if each is not None), None)
        return self._read[key]

    def _image(self, number: int, factor: NDArray[np.float64]) -> NDArray[np.uint8] | None:
        image = self._file.document["images"][number]
        try:
            content = bytes(self._file.view(image["bufferView"])) if "bufferView" in image else None
            content = self._file.resource(image["uri"]) if content is None else content
        except (OSError, ValueError, LookupError):  # missing, or elsewhere
            return None
        return picture_in(content, factor)


def _sources(texture: Any) -> list[int]:
    """The numbers of a texture's images, those first that are to be preferred."""
    extended = [each.get("source") for each in texture.get("extensions", {}).values()]
    return [number for number in (*extended, texture.get("source")) if number is not None]


def _wrap(document: Any, info: Any) -> tuple[Wrap, Wrap]:
    """What lies outside a texture, along u and along v."""
    number = document["textures"][info["index"]].get("sampler")
    sampler = {} if number is None else document["samplers"][number]
    return _WRAPS.get(sampler.get("wrapS"), "repeat"), _WRAPS.get(sampler.get("wrapT"), "repeat")


def _name(document: Any, info: Any) -> str:
    """The name of a texture's image or its file, or else its number."""
    sources = _sources(document["textures"][info["index"]])
    if not sources:
        return f"texture {info['index']}"
    image = document["images"][sources[-1]]
    file = image.get("uri", "data:")
    return str(image.get("name") or (f"image {sources[-1]}" if file.startswith("data:") else file))
