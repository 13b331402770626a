"""How much memory a device has left."""

from __future__ import annotations

import torch

from ..system.memory import memory_bytes


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
