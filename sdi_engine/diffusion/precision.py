"""Which floating point numbers a model's denoiser and text encoders run in."""

from __future__ import annotations

import torch

from .families import Family


def precision(family: Family, device: torch.device) -> torch.dtype:
    """Half precision on CUDA, in the family's own format where the device has it.

    It is float32 on the CPU, which has no fast half precision, and on MPS, where SD 2.x overflows in it.
    """
    if device.type != "cuda":
        return torch.float32
    if family.dtype == "bfloat16" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16
