"""Which floating point numbers a model's denoiser and text encoders run in."""

from __future__ import annotations

import torch


def precision(pipeline_name: str, device: torch.device) -> torch.dtype:
    """Half precision on CUDA; float32 on the CPU, which has no fast half, and on MPS, where SD 2.x overflows in it.

    Args:
        pipeline_name: a class of Diffusers; Stable Diffusion 3 was trained in bfloat16 and gets it where there is one.
        device: where the model runs.
    """
    if device.type != "cuda":
        return torch.float32
    if pipeline_name == "StableDiffusion3Pipeline" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16
