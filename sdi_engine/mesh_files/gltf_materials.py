"""The base colours that a glTF file's materials have."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..surface.look import Wrap
from .glossy import base_of_glossy, base_picture
from .gltf_file import GltfFile
from .looks import as_bytes, picture_in, srgb_of
from .named_pictures import NamedPicture, movement

_WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror"}
"""Samplers' numbers of OpenGL; all else repeats."""

_GLOSSY = "KHR_materials_pbrSpecularGlossiness"


@dataclass(frozen=True)
class BaseColour:
    """Attributes:
    factor: (3,), linear, by which the picture is multiplied, or the colour itself; the diffuse one where there is a
        specular one.
    picture: its name and place; None: there is none.
    texture: the number of the picture's texture; None: only the specular colour has one.
    uv_map: the number of the UV coordinates on which the picture lies.
    specular: (3,), linear, likewise; None: the other colour is the base colour.
    specular_texture: the number of a texture with the specular colour, which lies where the picture does.
    shine: the name of the picture with the specular colour, also if it lies elsewhere; empty if there is none.
    """

    factor: NDArray[np.float64]
    picture: NamedPicture | None = None
    texture: int | None = None
    uv_map: int = 0
    specular: NDArray[np.float64] | None = None
    specular_texture: int | None = None
    shine: str = ""

    def times(self, tint: NDArray[np.float64]) -> BaseColour:
        """The same, multiplied by a linear colour (3,)."""
        return replace(self, factor=self.factor * tint)

    @property
    def plain(self) -> NDArray[np.float64]:
        """(3,), linear: what there is instead of the picture."""
        if self.specular is None or self.specular_texture is not None:
            return self.factor
        return base_of_glossy(self.factor, self.specular)


def base_colour(document: Any, material: int) -> BaseColour:
    """What a material says of the base colour, or of the diffuse and the specular colour, from which it follows."""
    described = document["materials"][material]
    glossy = described.get("extensions", {}).get(_GLOSSY, {})
    if not glossy.keys() & {"diffuseTexture", "diffuseFactor", "specularGlossinessTexture", "specularFactor"}:
        plain = described.get("pbrMetallicRoughness", {})
        return _placed(document, _factor(plain.get("baseColorFactor")), plain.get("baseColorTexture"))
    info, shine = glossy.get("diffuseTexture"), glossy.get("specularGlossinessTexture")
    colour = _placed(document, _factor(glossy.get("diffuseFactor")), info)
    if not shine:
        # by the extension's text a perfect mirror where the factor is missing, too, which nobody means
        specular = glossy.get("specularFactor")
        return colour if specular is None else replace(colour, specular=_factor(specular))
    specular = _placed(document, _factor(glossy.get("specularFactor")), shine)
    if not info:
        return replace(specular, factor=colour.factor, texture=None, **_shine(specular))
    shine = _shine(specular)
    return replace(colour, **shine if _place(colour) == _place(specular) else {"shine": shine["shine"]})


def _factor(said: Any) -> NDArray[np.float64]:
    return np.ones(3) if said is None else np.array(said[:3], np.float64)


def _shine(specular: BaseColour) -> dict[str, Any]:
    assert specular.picture is not None
    return {"specular": specular.factor, "specular_texture": specular.texture, "shine": specular.picture.name}


def _place(colour: BaseColour) -> tuple[Any, ...]:
    """What is equal for pictures that lie on the same place."""
    assert colour.picture is not None
    move = None if colour.picture.move is None else colour.picture.move.tobytes()
    return colour.uv_map, move, colour.picture.wrap


def _placed(document: Any, factor: NDArray[np.float64], info: Any) -> BaseColour:
    """A colour, with the picture of a texture."""
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
    """The pictures of a file, each read once.

    Attributes:
        unlit: the names of those with specular colours that were left out of what `of` returned.
    """

    def __init__(self, file: GltfFile) -> None:
        self.unlit: list[str] = []
        self._file = file
        self._read: dict[tuple[Any, ...], NDArray[np.uint8] | None] = {}

    def of(self, colour: BaseColour) -> NDArray[np.uint8] | None:
        """The base colours (h, w, 3), sRGB, of a material with a picture; None if it cannot be read."""
        specular = None if colour.specular is None else colour.specular.tobytes()
        key = colour.texture, colour.factor.tobytes(), colour.specular_texture, specular
        if key not in self._read:
            self._read[key] = self._base(colour)
        return self._read[key]

    def _base(self, colour: BaseColour) -> NDArray[np.uint8] | None:
        diffuse = None if colour.texture is None else self._picture(colour.texture, colour.factor)
        if diffuse is None and colour.texture is not None:
            return None
        if colour.specular is None:
            self.unlit += [colour.shine] if colour.shine else []
            return diffuse
        if colour.specular_texture is None:
            return base_picture(diffuse, as_bytes(srgb_of(colour.specular)))
        specular = self._picture(colour.specular_texture, colour.specular)
        if specular is None:
            self.unlit += [colour.shine] if diffuse is not None else []
            return diffuse
        return base_picture(as_bytes(srgb_of(colour.factor)) if diffuse is None else diffuse, specular)

    def _picture(self, texture: int, factor: NDArray[np.float64]) -> NDArray[np.uint8] | None:
        """A texture's picture (h, w, 3), sRGB, multiplied by a linear factor (3,); None if it cannot be read."""
        shown = (self._image(number, factor) for number in _sources(self._file.document["textures"][texture]))
        return next((each for each in shown if each is not None), None)

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
