"""Keeps the last model loaded, for the next job with the same one. Imports torch only to load a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.parameters import AUTO, NO_PARTS, Parts
from ..contract.request import Lora
from ..system.files import state_of
from ..system.memory import give_memory_back
from ..system.pasted import as_meant

if TYPE_CHECKING:
    import torch

    from ..diffusion.loading import LoadPrior
    from ..diffusion.prior import Prior


class KeptPrior:
    """`load_prior` with a cache of one model."""

    def __init__(self, load: LoadPrior | None = None) -> None:
        self._load = load
        self._prior: Prior | None = None
        self._wanted: tuple[object, ...] = ()

    def load(
        self,
        model: str,
        device: torch.device,
        loras: Sequence[Lora] = (),
        parts: Parts = NO_PARTS,
        precision: str = AUTO,
    ) -> Prior:
        """The kept model if it is the requested one and its files have not changed; else a newly loaded one.

        Raises:
            EngineError: from `load_prior`.
        """
        files = [model, *(lora.file for lora in loras), *parts.paths]
        wanted = (model, str(device), tuple(loras), parts, precision, *map(_state, files))
        if self._prior is None or wanted != self._wanted or _has_changed(self._prior):
            self.forget()
            self._prior, self._wanted = self._loader()(model, device, loras, parts, precision), wanted
        return self._prior

    def free_text_encoders(self) -> None:
        """Free those that a job left behind which was stopped while they read: the next one shall have the memory."""
        if self._prior is not None:
            self._prior.free_text_encoders()

    def forget(self) -> None:
        """Free the memory of the kept model."""
        self._prior, self._wanted = None, ()
        give_memory_back()

    def _loader(self) -> LoadPrior:
        if self._load is not None:
            return self._load
        from ..diffusion import loading

        return loading.load_prior


def _has_changed(prior: Prior) -> bool:
    """Whether a file that a model was read from has: one within a folder is replaced without a trace in that one."""
    return any(each.has_changed for each in prior.weights.values())


def _state(path: str) -> tuple[int, int] | None:
    """Of a file or folder; None for any other name, such as an id of the hub."""
    meant = Path(as_meant(path))
    return state_of(meant) if meant.is_absolute() else None
