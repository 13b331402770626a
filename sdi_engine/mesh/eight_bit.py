"""Colours as eight bits: the one way from numbers to pictures, which numbers that are none do not get through."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import BrokenNumbersError


def eight_bit(colours: Tensor) -> Tensor:
    """Colours of any shape in 0…1 as uint8 on the CPU, rounded; what lies outside is clamped.

    Raises:
        BrokenNumbersError: there is a NaN or an infinite number, which a plain conversion makes black without a word.
    """
    if not is_finite(colours):
        raise BrokenNumbersError(
            "The picture holds numbers that are none (NaN or infinite): try another seed, or a lower guidance scale."
        )
    return (colours.detach().float().clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8).cpu()


def is_finite(*tensors: Tensor) -> bool:
    """Whether all numbers are some."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
