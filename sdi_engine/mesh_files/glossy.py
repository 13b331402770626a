"""The base colour of materials that are described by a diffuse and a specular colour, as renderers convert them.

Source: the example code of the glTF extension KHR_materials_pbrSpecularGlossiness, by its formulas.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .looks import as_bytes, linear_of, srgb_of

_DIELECTRIC = 0.04
"""What everything but metals reflects of light from straight ahead."""

_SMALLEST = 1e-6
_SEEN = np.array([0.299, 0.587, 0.114])
_ROWS = 256
"""Rows of a picture that are converted at once, so that a large one takes little memory."""


def base_of_glossy(diffuse: NDArray[np.floating], specular: NDArray[np.floating]) -> NDArray[np.float64]:
    """The base colours (…, 3) of diffuse and specular ones, which are broadcast; all linear, in 0…1.

    What reflects as little as all but metals do keeps its diffuse colour; a metal has none, and gets its specular one.
    """
    diffuse, specular = np.broadcast_arrays(np.clip(diffuse, 0.0, 1.0), np.clip(specular, 0.0, 1.0))
    left = 1.0 - specular.max(axis=-1)
    metallic = _metallic(_brightness(diffuse), _brightness(specular), left)[..., None]
    of_diffuse = diffuse * (left[..., None] / (1.0 - _DIELECTRIC) / np.maximum(1.0 - metallic, _SMALLEST))
    of_specular = (specular - _DIELECTRIC * (1.0 - metallic)) / np.maximum(metallic, _SMALLEST)
    return np.clip(of_diffuse + (of_specular - of_diffuse) * metallic**2, 0.0, 1.0)


def base_picture(diffuse: NDArray[np.uint8], specular: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`base_of_glossy` of a picture (h, w, 3), sRGB, and a colour (3,) or another picture, whose size becomes that of
    the larger of the two."""
    edges = [each.shape[:2] for each in (diffuse, specular) if each.ndim == 3]
    height, width = max(edges, key=lambda edge: edge[0] * edge[1])
    diffuse, specular = (_of_size(each, height, width) for each in (diffuse, specular))
    linear = linear_of(np.arange(256) / 255.0)
    base = np.empty((height, width, 3), np.uint8)
    for first in range(0, height, _ROWS):
        rows = slice(first, first + _ROWS)
        base[rows] = as_bytes(srgb_of(base_of_glossy(linear[diffuse[rows]], linear[specular[rows]])))
    return base


def _of_size(colours: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if colours.ndim == 1 or colours.shape[:2] == (height, width):
        return np.broadcast_to(colours, (height, width, 3))
    return np.asarray(Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC))


def _metallic(
    diffuse: NDArray[np.float64], specular: NDArray[np.float64], left: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far materials (…) are metals, 0…1, by their brightness and the share of light that is left for diffuse."""
    b = diffuse * left / (1.0 - _DIELECTRIC) + specular - 2.0 * _DIELECTRIC
    root = np.sqrt(np.maximum(b * b - 4.0 * _DIELECTRIC * (_DIELECTRIC - specular), 0.0))
    return np.where(specular < _DIELECTRIC, 0.0, np.clip((root - b) / (2.0 * _DIELECTRIC), 0.0, 1.0))


def _brightness(colours: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.sqrt((colours * colours) @ _SEEN)
