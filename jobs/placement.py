"""The scene and the location that a result belongs to, or the object that a texture is for: what only Blender knows;
stored with the job in `placement.json`.

So a job that ends after Blender was closed, or crashed, still lands where it was started.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.system import machine, processes
from ..sdi_engine.system.files import read_bytes, read_text, write_atomically
from ..sdi_engine.system.untrusted import parse_json

PENDING = "pending"
IMPORTED = "imported"
DISMISSED = "dismissed"
FATES = (PENDING, IMPORTED, DISMISSED)

MAX_NUMBER = 1e30
"""The largest magnitude of a matrix element: Blender has floats of 32 bits."""

IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Target:
    """The object that a texture is for.

    Attributes:
        identity: the object's own, which it keeps when it is renamed (`scene.target`).
        name: its name when the job was started.
        uv_map: the name of the UV map that the texture is made for; empty if the mesh had none.
    """

    identity: str
    name: str
    uv_map: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) for text in (self.identity, self.name, self.uv_map)):
            raise TypeError("not a target")


@dataclass(frozen=True)
class Placement:
    """Attributes:
    matrix: world matrix of the centre of the object's base, in the scene's units: 16 numbers, row by row; of a
        texture's object, its own when the job was started.
    scene: the scene's name.
    blend_file: path of the open file; empty if it had not been saved.
    owner: the Blender that imports the result into its scene (`processes.ourselves`).
    fate: `PENDING`, `IMPORTED`, or `DISMISSED` by the person.
    target: the object that a texture is for; None for an object of its own.
    seal: proves that this person wrote it on this machine; empty until it is written.
    """

    matrix: tuple[float, ...] = IDENTITY
    scene: str = ""
    blend_file: str = ""
    owner: dict[str, Any] = dataclasses.field(default_factory=processes.ourselves)
    fate: str = PENDING
    target: Target | None = None
    seal: str = dataclasses.field(default="", compare=False)

    @classmethod
    def at(cls, location: Sequence[float], scene: str = "", blend_file: str = "") -> Placement:
        """Upright at a location in the scene's units, facing −Y."""
        x, y, z = location
        return cls((1.0, 0.0, 0.0, x, 0.0, 1.0, 0.0, y, 0.0, 0.0, 1.0, z, 0.0, 0.0, 0.0, 1.0), scene, blend_file)

    @property
    def location(self) -> tuple[float, float, float]:
        """The translation of the matrix: x, y, z in the scene's units."""
        return self.matrix[3], self.matrix[7], self.matrix[11]

    def write(self, folder: JobFolder) -> None:
        """Write it into the job folder, sealed; raises OSError."""
        sealed = dataclasses.replace(self, seal=machine.seal(*self._sealed_parts(folder)))
        write_atomically(_file(folder), json.dumps(dataclasses.asdict(sealed), indent=2) + "\n")

    @classmethod
    def read(cls, folder: JobFolder) -> Placement | None:
        """The placement in a job folder; None if there is none or it is invalid."""
        try:
            fields = parse_json(read_text(_file(folder)))
            location = fields.pop("location", None)  # version 0.1 wrote it instead of the matrix
            matrix = cls.at(_numbers(location, 3)).matrix if location is not None else fields["matrix"]
            if not isinstance(fields.get("owner"), dict):
                fields["owner"] = {}  # earlier versions wrote only a process id, which identifies nobody
            if fields.get("target") is not None:
                fields["target"] = Target(**{each: fields["target"][each] for each in Target.__dataclass_fields__})
            known = {field.name for field in dataclasses.fields(cls)}
            read = cls(**{name: value for name, value in fields.items() if name in known})
            return dataclasses.replace(read, matrix=_numbers(matrix, len(IDENTITY)))._checked()
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def _checked(self) -> Placement:
        texts = (self.scene, self.blend_file, self.seal)
        if not all(isinstance(text, str) for text in texts) or self.fate not in FATES:
            raise ValueError("not a placement")
        return self

    def with_fate(self, fate: str) -> Placement:
        """The same placement with another fate."""
        return dataclasses.replace(self, fate=fate)

    def is_ours(self, folder: JobFolder) -> bool:
        """Whether this person started the job, in a Blender on this machine."""
        return machine.is_sealed(self.seal, *self._sealed_parts(folder))

    @property
    def is_owned_by_another(self) -> bool:
        """Whether another Blender that still runs will import the result into its scene."""
        return not processes.is_ourselves(self.owner) and bool(processes.runs(self.owner))

    def owned(self) -> Placement:
        """The same placement, owned by this process."""
        return dataclasses.replace(self, owner=processes.ourselves())

    def _sealed_parts(self, folder: JobFolder) -> tuple[str, ...]:
        fields = {**dataclasses.asdict(self), "matrix": [float(number) for number in self.matrix], "seal": ""}
        if self.target is None:
            del fields["target"]  # as earlier versions sealed it
        try:
            request = hashlib.sha256(read_bytes(folder.request_file)).hexdigest()
        except OSError:
            request = ""
        return ("placement", folder.path.name, request, json.dumps(fields, sort_keys=True))


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or len(values) != count:
        raise ValueError(f"not {count} numbers")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise TypeError(f"not {count} numbers")
    if not all(abs(value) <= MAX_NUMBER for value in values):
        raise ValueError("too far away")
    return tuple(map(float, values))


def _file(folder: JobFolder) -> Path:
    return folder.path / "placement.json"
