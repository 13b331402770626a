"""3D runs of studies that were interrupted: what they continue from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..contract.job_folder import storage_errors
from ..distillation.surface_noise import NoiseCells
from ..run import checkpoint
from ..run.optimisation import Optimisation
from ..system.files import read_json_object
from .study import save_json

CHECKPOINT_FILE = "checkpoint.safetensors"
MEASURED_FILE = "unfinished.json"
KEPT = ".kept"
CELLS_FILES = "cells-*.npz"

CHECKPOINT_SECONDS = 15.0
"""Checkpoints are at least this far apart."""


class Unfinished:
    """A run in progress in its own folder: a checkpoint, and what was measured up to there.

    The measurements are written before the checkpoint, under the number of steps that they cover, and those of the
    checkpoint before are kept: so whenever the process ends, the measurements of the stored checkpoint are there.

    Args:
        folder: of the run; None stores nothing.
        cells: noise on the object, by name, that only follows the run and is not its own (`studies.noise_error`).
    """

    def __init__(self, folder: Path | None, cells: Mapping[str, NoiseCells] | None = None) -> None:
        self._folder = folder
        self._cells = cells or {}
        self._saved_at = time.monotonic()
        self._by_steps: dict[str, Any] = {}

    def load(self, run: Optimisation) -> dict[str, Any]:
        """Make a run, before its first step, continue from the checkpoint, if there is one.

        Returns:
            What was measured up to there; empty without a checkpoint.

        Raises:
            BadInputError: the checkpoint is damaged.
        """
        if self._folder is None or not (self._folder / CHECKPOINT_FILE).is_file():
            return {}
        self._by_steps = read_json_object(self._folder / MEASURED_FILE) or {}
        checkpoint.load(run, self._folder / CHECKPOINT_FILE)
        if self._cells:
            with storage_errors(self._folder), np.load(self._cells_file(run)) as stored:
                for name, cells in self._cells.items():
                    kept = torch.from_numpy(stored[name + KEPT]) if name + KEPT in stored else None  # older ones
                    cells.restore(torch.from_numpy(stored[name]), kept)
        return self._by_steps.get(str(run.step), {})

    def save_in_time(self, run: Optimisation, measured: dict[str, Any]) -> None:
        """Store a run and what was measured so far, unless that was done lately; raises StorageError."""
        if self._folder is None or time.monotonic() - self._saved_at < CHECKPOINT_SECONDS:
            return
        self._by_steps = dict([*self._by_steps.items()][-1:]) | {str(run.step): measured}
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            save_json(self._by_steps, self._folder / MEASURED_FILE)
            cells = self._cells_file(run)
            older = [file for file in self._folder.glob(CELLS_FILES) if file != cells]
            if self._cells:
                arrays = {name: one.values for name, one in self._cells.items()}
                arrays |= {name + KEPT: one.kept for name, one in self._cells.items()}
                np.savez(cells, **{name: array.cpu().numpy() for name, array in arrays.items()})
            checkpoint.save(run, self._folder / CHECKPOINT_FILE)
            for file in older:
                file.unlink(missing_ok=True)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Delete what a finished run needs no more."""
        if self._folder is not None:
            with storage_errors(self._folder):
                for name in (CHECKPOINT_FILE, MEASURED_FILE, CELLS_FILES):
                    for file in self._folder.glob(name):
                        file.unlink(missing_ok=True)

    def _cells_file(self, run: Optimisation) -> Path:
        return self._folder / CELLS_FILES.replace("*", str(run.step))
