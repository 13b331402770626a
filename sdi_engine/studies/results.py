"""Results of finished runs, stored under a hash of all that they depend on, so that nothing is run twice."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from ..contract.job_folder import storage_errors
from ..system.files import read_json_object, write_atomically
from .sheets import squares, strip
from .study import Report, Study, save_json
from .unfinished import Unfinished

FOLDER = "runs"
"""A subfolder of a study's folder; the command line continues in a folder that has it."""


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        pictures: square pictures of one size; empty if there is no object.
        numbers: the measurements, as a JSON object.
    """

    pictures: tuple[Image.Image, ...]
    numbers: dict[str, Any]


class Run(Protocol):
    """A computation with a `Result`."""

    @property
    def name(self) -> str:
        """The label of its progress bar."""

    def identity(self, study: Study) -> dict[str, Any]:
        """All that the result depends on, as a JSON object."""

    def work(self, study: Study, report: Report, folder: Path | None = None) -> Result:
        """Do the run, or continue it; raises what its model and its optimisation raise.

        Args:
            folder: stores what an interrupted run continues from; None stores nothing.
        """


class Results:
    """The results in `runs/`: for each run a subfolder with `pictures.png` (side by side) and, written last,
    `run.json`."""

    def __init__(self, study: Study, folder: Path) -> None:
        self._study = study
        self._folder = folder / FOLDER

    def get(self, run: Run, report: Report) -> Result:
        """The result of a run, which is done now unless it is finished already."""
        found = self.find(run)
        if found is None:
            folder = self._folder / self.key(run)
            found = run.work(self._study, report, folder)
            self.keep(run, found)
            Unfinished(folder).remove()
        return found

    def find(self, run: Run) -> Result | None:
        """The stored result of a run, or None if it is not finished, or if what is stored is damaged."""
        folder = self._folder / self.key(run)
        numbers = (read_json_object(folder / "run.json") or {}).get("numbers")
        if not isinstance(numbers, dict):
            return None
        if not (folder / "pictures.png").is_file():
            return Result((), numbers)
        try:
            with Image.open(folder / "pictures.png") as joined:
                return Result(tuple(squares(joined.convert("RGB"))), numbers)
        except (OSError, ValueError, Image.DecompressionBombError):
            return None

    def keep(self, run: Run, result: Result) -> None:
        """Store a run's result; raises StorageError."""
        folder = self._folder / self.key(run)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if result.pictures:
                png = io.BytesIO()
                strip(result.pictures).save(png, "PNG")
                write_atomically(folder / "pictures.png", png.getvalue())
        save_json({"identity": run.identity(self._study), "numbers": result.numbers}, folder / "run.json")

    def key(self, run: Run) -> str:
        """The name of a run's subfolder: 16 hexadecimal digits of a hash of its identity."""
        identity = json.dumps(run.identity(self._study), sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()[:16]
