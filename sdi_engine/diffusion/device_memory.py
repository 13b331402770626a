"""How much memory a device has left."""

from __future__ import annotations

import torch

from ..errors import EngineError, OutOfMemoryError
from ..system.memory import memory_bytes
from .needs import SURE_SHARE, gib, weigh


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


def check_room(model: str, device: torch.device) -> None:
    """Refuse a model whose weights alone are certainly too much for what is free, before they are read.

    Raises:
        OutOfMemoryError: they are; the sentence says how much is wanting.
    """
    try:
        weights = weigh(model)
    except EngineError:  # whoever loads it says so
        return
    if weights is None:
        return
    need = sum(weights.bytes_of(part, device.type) for part in (weights.denoiser, "vae"))
    free = free_bytes(device)
    if SURE_SHARE * need > free:
        other = ", or the device cpu" if device.type == "cuda" else ""
        raise OutOfMemoryError(
            f'The weights of the model "{model}" take {gib(need)}, and {gib(free)} of the '
            f"{'graphics ' if device.type == 'cuda' else ''}memory are free: close other programs, or choose a smaller "
            f"model or one with weights in fewer bits{other}."
        )
