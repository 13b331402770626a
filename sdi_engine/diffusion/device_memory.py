"""How much memory a device has left."""

from __future__ import annotations

import importlib.util

import torch

from ..config.parameters import AUTO, NO_PARTS, Parts
from ..errors import EngineError, OutOfMemoryError
from ..system.memory import memory_bytes
from .needs import SURE_SHARE, Work, gib, plan, weigh
from .packed_on_loading import check_library
from .weight_bytes import FULL, PACKINGS, Precision


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


def packs_by_itself(device: torch.device) -> bool:
    """Whether models are packed on a device where they have no room otherwise."""
    return device.type == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def precision_with_room(model: str, device: torch.device, parts: Parts = NO_PARTS, precision: str = AUTO) -> Precision:
    """How the weights of a model's denoiser are kept on a device: as a request says, or else so that a run has room,
    packed where nothing else helps.

    Raises:
        EnvironmentMissingError: it has to be packed, and what does it is not installed.
        OutOfMemoryError: its weights alone are certainly too much; the sentence says how much is wanting.
    """
    wanted = next((packing for packing in PACKINGS if packing == precision), FULL)
    try:
        weights = weigh(model, parts)
    except EngineError:  # whoever loads it says so
        return wanted
    if weights is None:
        return wanted
    kind, free = device.type, free_bytes(device)
    if weights.gains_by(wanted, kind):
        check_library(wanted)
    found = plan(weights, Work(weights.resolution, 1), kind, free, packs_by_itself(device), precision)
    as_it_passes = found.measures if kind == "cuda" else ()  # elsewhere it is read as a whole, then packed
    need = weights.denoiser_bytes(kind, as_it_passes) + weights.bytes_of("vae", kind)
    if SURE_SHARE * need > free:
        other = ", or the device cpu" if kind == "cuda" else ""
        other += ", or the precision auto" if kind == "cuda" and precision == FULL else ""
        raise OutOfMemoryError(
            f'The weights of the model "{model}" take {gib(need)}, and {gib(free)} of the '
            f"{'graphics ' if kind == 'cuda' else ''}memory are free: close other programs, or choose a smaller model "
            f"or one with weights in fewer bits{other}."
        )
    return next((packing for packing in reversed(PACKINGS) if packing in found.measures), wanted)
