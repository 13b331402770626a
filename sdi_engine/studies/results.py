"""Results of finished runs, kept by a hash of all that they depend on, so that nothing is run twice."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from ..contract.job_folder import storage_errors
from ..system.files import write_atomically
from .sheets import squares, strip
from .study import Report, Study, save_json

FOLDER = "runs"
"""The command line goes on in a folder that has it (`cli.RUNS_FOLDER`)."""


@dataclass(frozen=True)
class Result:
    """What came out of a run.

    Attributes:
        pictures: square pictures of one size; none where there is nothing to see.
        numbers: what was measured, as JSON allows.
    """

    pictures: tuple[Image.Image, ...]
    numbers: dict[str, Any]


class Run(Protocol):
    """Something to run that ends in a `Result`."""

    @property
    def name(self) -> str:
        """What the progress bar shows."""

    def identity(self, study: Study) -> dict[str, Any]:
        """All that the result depends on, as JSON allows."""

    def work(self, study: Study, report: Report) -> Result:
        """Run it; raises what its model and its optimisation raise."""


class Results:
    """A folder `runs/` with a folder for every run: `pictures.png` (side by side), and `run.json`, written last."""

    def __init__(self, study: Study, folder: Path) -> None:
        self._study = study
        self._folder = folder / FOLDER

    def get(self, run: Run, report: Report) -> Result:
        """The result of a run, which is run unless it is finished already."""
        found = self.find(run)
        if found is None:
            found = run.work(self._study, report)
            self.keep(run, found)
        return found

    def find(self, run: Run) -> Result | None:
        """The result of a run, or None while it is not finished."""
        folder = self._folder / self.key(run)
        if not (folder / "run.json").is_file():
            return None
        with storage_errors(folder):
            numbers = json.loads((folder / "run.json").read_text(encoding="utf-8"))["numbers"]
            if not (folder / "pictures.png").is_file():
                return Result((), numbers)
            with Image.open(folder / "pictures.png") as joined:
                return Result(tuple(squares(joined.convert("RGB"))), numbers)

    def keep(self, run: Run, result: Result) -> None:
        """Save a result; raises StorageError."""
        folder = self._folder / self.key(run)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if result.pictures:
                png = io.BytesIO()
                strip(result.pictures).save(png, "PNG")
                write_atomically(folder / "pictures.png", png.getvalue())
        save_json({"identity": run.identity(self._study), "numbers": result.numbers}, folder / "run.json")

    def key(self, run: Run) -> str:
        """The name of a run's folder: 16 hexadecimal digits of a hash of its identity."""
        identity = json.dumps(run.identity(self._study), sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()[:16]
