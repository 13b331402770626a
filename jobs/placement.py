"""Where in which scene a result belongs: what Blender alone knows of a job, kept beside it in `placement.json`.

So a job that ends after Blender was closed, or crashed, still lands where its Generate was pressed.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..sdi_engine.job_folder import JobFolder, write_atomically

PENDING = "pending"
IMPORTED = "imported"
DISMISSED = "dismissed"


@dataclass(frozen=True)
class Placement:
    """Attributes:
    location: where the base's centre goes, in the scene's units.
    scene: name of the scene.
    blend_file: path of the file that was open, empty where it had not been saved.
    owner: process id of the Blender that puts the result into its scene.
    fate: what became of the result: `PENDING`, `IMPORTED`, or `DISMISSED` by the person.
    """

    location: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scene: str = ""
    blend_file: str = ""
    owner: int = dataclasses.field(default_factory=os.getpid)
    fate: str = PENDING

    def write(self, folder: JobFolder) -> None:
        """Write it into the job folder; raises OSError."""
        write_atomically(_file(folder), json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: JobFolder) -> Placement | None:
        """What was written; None where there is nothing that can be understood."""
        try:
            fields = json.loads(_file(folder).read_text(encoding="utf-8"))
            x, y, z = (float(value) for value in fields.pop("location"))
            return cls(location=(x, y, z), **fields)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def with_fate(self, fate: str) -> Placement:
        return dataclasses.replace(self, fate=fate)

    def owned(self) -> Placement:
        """The same, but for this process to put into its scene."""
        return dataclasses.replace(self, owner=os.getpid())


def _file(folder: JobFolder) -> Path:
    return folder.path / "placement.json"
