"""What training a starter prior has had, part by part, in `training.json` beside its weights.

A run may start from the weights of an earlier one (`train --start-from`), whose parts it takes over.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD_FILE = "training.json"


@dataclass(frozen=True)
class Part:
    """One run of `train`.

    Attributes:
        steps: of the optimiser.
        images: that they saw, all together.
        seconds: on the clock.
        learning_rate: the highest.
        seed: of everything random.
        hardware: where it ran, in words.
        note: what else is to be said of it.
    """

    steps: int
    images: int
    seconds: float
    learning_rate: float
    seed: int
    hardware: str = ""
    note: str = ""


def read_record(folder: Path) -> tuple[Part, ...]:
    """The parts of a model's training, the first one first; none where its folder does not tell."""
    file = folder / RECORD_FILE
    if not file.is_file():
        return ()
    return tuple(Part(**part) for part in json.loads(file.read_text(encoding="utf-8")))


def write_record(folder: Path, parts: Sequence[Part]) -> None:
    """Write `training.json` into a model's folder."""
    content = json.dumps([dataclasses.asdict(part) for part in parts], indent=2, ensure_ascii=False)
    (folder / RECORD_FILE).write_text(content + "\n", encoding="utf-8")
