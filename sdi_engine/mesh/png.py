"""Pictures as PNG files, which of large textures takes many seconds: a person is heard meanwhile."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..system.occasions import occasion

EFFORT = 4
"""zlib's level: the default of 6 takes more than twice as long for textures of objects, whose files are smaller by a
tenth then."""


class Png:
    """A picture as the content of a PNG file.

    `format` and `save` are what trimesh asks of a texture when it writes one.

    Args:
        pixels: (height, width, 3), sRGB.
    """

    format = "PNG"

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        file = _Heard()
        Image.fromarray(pixels).save(file, format=self.format, compress_level=EFFORT)
        self.content = file.getvalue()

    def save(self, file: io.BytesIO, format: str) -> None:
        """Write the content; trimesh wants no other format."""
        assert format.upper() == self.format
        file.write(self.content)


class _Heard(io.BytesIO):
    """Pillow writes after every 64 KiB that it has compressed."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        occasion()
        return super().write(data)
