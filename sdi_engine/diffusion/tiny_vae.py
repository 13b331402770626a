"""Tiny VAEs, TAESD's family: what such a file is, and to which models it belongs, by names and shapes alone.

Standard library only, as `parts`. Source: github.com/madebyollin/taesd; Diffusers has them as `AutoencoderTiny`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .families import Family, Shapes

TINY_VAE = "AutoencoderTiny"
"""Their kind: the class in Diffusers."""

_OF_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "taesdxl": ("sdxl",),
    "taesd3": ("sd3",),
    "taef1": ("flux", "chroma", "z-image"),
    "taesd": ("sd1", "sd2"),
}
"""The families whose latents they make, by the names that they are distributed under; a longer name comes first."""

_STARTS = ("encoder.layers.", "taesd_encoder.", "")
"""How the names of an encoder's tensors begin in Diffusers' files, in ComfyUI's, and in the authors' own."""

_DECODER = re.compile(r"(decoder\.layers|taesd_decoder)\..*|1\.weight|3\.conv\.0\.weight")


@dataclass(frozen=True)
class TinyEncoder:
    """What the encoder in a file is made of.

    Attributes:
        start: how the names of its tensors begin.
        channels: of the latents.
        width: channels of all of its layers.
        blocks: residual blocks after each convolution; each convolution but the first halves the sides.
    """

    start: str
    channels: int
    width: int
    blocks: tuple[int, ...]

    @property
    def pixels_per_cell(self) -> int:
        return 2 ** (len(self.blocks) - 1)

    def has(self, name: str) -> bool:
        """Whether a tensor of the file is the encoder's, whose layers have numbers."""
        return name.startswith(self.start) and name.removeprefix(self.start).partition(".")[0].isdigit()


def tiny_encoder_in(shapes: Shapes) -> TinyEncoder | None:
    """The encoder among a file's tensors; None where there is none."""
    return next(filter(None, (_encoder(shapes, start) for start in _STARTS)), None)


def is_tiny_decoder(shapes: Shapes) -> bool:
    """Whether a file holds a tiny VAE's decoder, for one without an encoder."""
    return any(_DECODER.fullmatch(name) and len(shape) == 4 for name, shape in shapes.items())


def belongs_to_another(name: str, family: Family) -> str:
    """The name, such as "taesdxl", by which a file says that it is for other families; "" where it does not."""
    found = next((start for start in _OF_FAMILIES if start in name.lower()), "")
    return found if found and family.name not in _OF_FAMILIES[found] else ""


def usual_name(family: Family) -> str:
    """The name that the tiny VAE for a family is distributed under; "" where there is none."""
    return next((name for name, families in _OF_FAMILIES.items() if family.name in families), "")


def _encoder(shapes: Shapes, start: str) -> TinyEncoder | None:
    first = shapes.get(f"{start}0.weight", ())
    if len(first) != 4 or first[1] != 3:
        return None
    blocks, layer = [0], 1
    while True:
        convolution = shapes.get(f"{start}{layer}.weight", ())
        if f"{start}{layer}.conv.0.weight" in shapes:
            blocks[-1] += 1
        elif len(convolution) == 4 and f"{start}{layer}.bias" not in shapes:
            blocks.append(0)
        else:
            break
        layer += 1
    if len(convolution) != 4 or convolution[1] != first[0]:
        return None
    return TinyEncoder(start, convolution[0], first[0], tuple(blocks))
