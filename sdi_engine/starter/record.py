"""The record of a starter prior's training: `training.json` beside its weights, with one entry per run.

A run may start from the weights of an earlier one (`train --start-from`); its record then begins with that one's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD_FILE = "training.json"


@dataclass(frozen=True)
class TrainingRun:
    """One run of `train`.

    Attributes:
        steps: number of optimiser steps.
        images: training pictures over all steps; a picture counts each time it is used.
        seconds: wall-clock time.
        learning_rate: the highest rate.
        seed: the run's seed.
        hardware: the machine, in words.
        note: remarks for the model card.
    """

    steps: int
    images: int
    seconds: float
    learning_rate: float
    seed: int
    hardware: str = ""
    note: str = ""


def read_record(folder: Path) -> tuple[TrainingRun, ...]:
    """The runs of a model's training in order, from `training.json` in its folder; empty without that file."""
    file = folder / RECORD_FILE
    if not file.is_file():
        return ()
    return tuple(TrainingRun(**run) for run in json.loads(file.read_text(encoding="utf-8")))


def write_record(folder: Path, runs: Sequence[TrainingRun]) -> None:
    """Writes `training.json` into a model's folder."""
    content = json.dumps([dataclasses.asdict(run) for run in runs], indent=2, ensure_ascii=False)
    (folder / RECORD_FILE).write_text(content + "\n", encoding="utf-8")
