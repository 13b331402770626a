"""How much memory a device has left."""

from __future__ import annotations

import importlib.util

import torch

from ..config.parameters import NO_PARTS, Parts
from ..errors import EngineError, OutOfMemoryError
from ..system.memory import memory_bytes
from .needs import PACKINGS, SURE_SHARE, Work, gib, plan, weigh
from .weight_bytes import FULL, Precision


def free_bytes(device: torch.device) -> int:
    """The memory of a device that can still be taken, with what torch keeps for itself.

    Of a computer that does not say what is free (macOS) it is half of the memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    total, free_of_system = memory_bytes()
    return (total or 0) // 2 if free_of_system is None else free_of_system


def precision_with_room(model: str, device: torch.device, parts: Parts = NO_PARTS) -> Precision:
    """How the weights of a model's denoiser are kept on a device, so that a run has room: packed where nothing else
    helps.

    Raises:
        OutOfMemoryError: its weights alone are certainly too much; the sentence says how much is wanting.
    """
    try:
        weights = weigh(model, parts)
    except EngineError:  # whoever loads it says so
        return FULL
    if weights is None:
        return FULL
    kind, free = device.type, free_bytes(device)
    may_pack = kind == "cuda" and importlib.util.find_spec("bitsandbytes") is not None
    found = plan(weights, Work(weights.resolution, 1), kind, free, may_pack)
    need = weights.denoiser_bytes(kind, found.measures) + weights.bytes_of("vae", kind)
    if SURE_SHARE * need > free:
        other = ", or the device cpu" if kind == "cuda" else ""
        raise OutOfMemoryError(
            f'The weights of the model "{model}" take {gib(need)}, and {gib(free)} of the '
            f"{'graphics ' if kind == 'cuda' else ''}memory are free: close other programs, or choose a smaller model "
            f"or one with weights in fewer bits{other}."
        )
    return next((packing for packing in reversed(PACKINGS) if packing in found.measures), FULL)
