"""What a model's weights take in memory, by its header alone. Standard library only, so that Blender can say it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Literal

from . import gguf_header

if TYPE_CHECKING:
    from .header import Header

Precision = Literal["full", "8-bit", "4-bit"]
"""How a denoiser's weights are kept in memory: as in its file, but those of more than 16 bits in the precision that the
model runs in; or packed on loading, where the file has more bits."""

FULL: Precision = "full"

BLOCK = 64
"""Weights that share a factor (of 32 bits) where a model is packed on loading."""

PACKINGS: tuple[Precision, ...] = ("8-bit", "4-bit")
"""Those for which a model is packed when it is loaded (`packed_on_loading`)."""

LARGE_BYTES = 2**30
"""A denoiser that takes no more in 32 bits is small."""

_PACKED_BITS = {"8-bit": 8 + 32 / BLOCK, "4-bit": 4 + 32 / BLOCK}
_KEPT_BITS = {name: size * 8 / block for name, block, size in gguf_header.KINDS.values() if block > 1}
_KEPT_BITS |= dict.fromkeys(("F8_E4M3", "F8_E5M2"), 8.0)

_IN_BLOCKS = re.compile(r"(.*[._])?(blocks?|layers|refiner)\.\d+\..*")
_APART = re.compile(r"(.*\.)?distilled_guidance_layer\..*")
"""The network that makes all modulations of Chroma: a small part of it, and its errors would be everywhere."""


def is_packed_on_loading(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight of a denoiser is packed: matrices and kernels in its layers' blocks, which are nearly all of it.

    Embedders, the time, norms and the last layer stay as they are.

    Args:
        name: in Diffusers or in the original code.
        shape: of the weight.
    """
    is_inside = _IN_BLOCKS.fullmatch(name) is not None and _APART.fullmatch(name) is None
    return is_inside and len(shape) >= 2 and math.prod(shape) % BLOCK == 0


def bytes_of(header: Header, precision: Precision | None = None, bits: int = 16) -> int:
    """The bytes that some weights take in memory.

    Args:
        header: of a file, or what of it belongs to one part.
        precision: of a denoiser's weights; None for a VAE or text encoder, which is never packed.
        bits: of the numbers that they are computed in, 16 or 32, which all take that is not packed.
    """
    total = 0.0
    for name, entry in header.items():
        kept = bits if precision is None else min(_KEPT_BITS.get(entry.dtype, bits), bits)
        if precision not in (None, FULL) and is_packed_on_loading(name, entry.shape) and entry.dtype not in _KEPT_BITS:
            kept = min(kept, _PACKED_BITS[precision])
        total += math.prod(entry.shape) * kept / 8
    return math.ceil(total)


def narrow_kind(header: Header) -> str:
    """The 16 bits, by their name in a header, in which a denoiser stays on a processor that computes in 32.

    "" for one that is widened when it is loaded, since it is small, or most of it is in other numbers.
    """
    numbers = {name: math.prod(entry.shape) for name, entry in header.items()}
    if 4 * sum(numbers.values()) <= LARGE_BYTES:
        return ""
    of_kind = {
        kind: sum(numbers[name] for name, entry in header.items() if entry.dtype == kind) for kind in ("F16", "BF16")
    }
    most = max(of_kind, key=lambda kind: of_kind[kind])
    return most if of_kind[most] > sum(numbers.values()) / 2 else ""
