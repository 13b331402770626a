"""The last model stays loaded, for the next job that wants the same one."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import torch

from ..contract.request import Lora
from ..system.pasted import as_meant
from .loading import load_prior
from .prior import Prior


class KeptPrior:
    """`load_prior` with a memory of one model."""

    def __init__(self) -> None:
        self._prior: Prior | None = None
        self._wanted: tuple[object, ...] = ()

    def load(self, model: str, device: torch.device, loras: Sequence[Lora] = ()) -> Prior:
        """The kept model where it is the one that is asked for, and its files are as they were; else `load_prior`.

        Raises:
            EngineError: as `load_prior` does.
        """
        wanted = (model, str(device), tuple(loras), *map(_state, [model, *(lora.file for lora in loras)]))
        if self._prior is None or wanted != self._wanted:
            self.forget()
            self._prior, self._wanted = load_prior(model, device, loras), wanted
        return self._prior

    def forget(self) -> None:
        """Give the memory of the kept model back."""
        self._prior, self._wanted = None, ()
        self.release()

    def release(self) -> None:
        """Give back what a job used besides the model: torch keeps a GPU's memory, which Blender renders with too."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _state(path: str) -> tuple[int, int] | None:
    """Changes where the file or folder does; None where the name is none of either, such as an id of the hub."""
    path = as_meant(path)
    try:
        if not Path(path).is_absolute():
            return None
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size
