"""Colours as eight bits: the one way from numbers to pictures, which refuses NaN and infinite values."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import BrokenNumbersError


def eight_bit(colours: Tensor) -> Tensor:
    """Colours of any shape in 0…1 as uint8 on the CPU, rounded; what lies outside is clamped.

    Raises:
        BrokenNumbersError: a value is NaN or infinite, which a plain conversion would silently make black.
    """
    if not is_finite(colours):
        raise BrokenNumbersError(
            "The picture has values that are NaN or infinite: try another seed, or a lower guidance scale."
        )
    return (colours.detach().float().clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8).cpu()


def is_finite(*tensors: Tensor) -> bool:
    """Whether no value of any tensor is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
