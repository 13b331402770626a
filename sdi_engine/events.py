"""What a running job says: one JSON object per line of `events.jsonl`. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from .redaction import redacted

QUEUED = "queued"
STARTING = "starting"
RUNNING = "running"
EXPORTING = "exporting"
DONE = "done"
CANCELLED = "cancelled"
FAILED = "failed"
PAUSED = "paused"
STATES = (QUEUED, STARTING, RUNNING, EXPORTING, DONE, CANCELLED, FAILED, PAUSED)
FINAL_STATES = (DONE, CANCELLED, FAILED, PAUSED)
"""Those in which no worker is at the job, and none will be until somebody asks for it."""


@dataclass(frozen=True)
class StateChanged:
    """The job has entered one of `STATES`."""

    state: str
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Progress:
    """Step `step` of `steps` in a phase ("Loading the model", "Optimising", ...).

    `rate` in steps per second and `eta` in seconds until the phase ends, both measured; None while unknown.
    """

    phase: str
    step: int
    steps: int
    rate: float | None = None
    eta: float | None = None
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class PreviewSaved:
    """A new picture of the current state; `file` is relative to the job folder, `step` the step it shows."""

    file: str
    step: int
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class LiveMeshSaved:
    """A new light mesh of the current state (`job_folder.JobFolder.live_file`), as of step `step`."""

    step: int
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Notice:
    """Something the person should know that does not stop the job, as one sentence."""

    message: str
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Failed:
    """The job has failed; `message` is one sentence with cause and cure."""

    message: str
    exit_code: int
    time: float = field(default_factory=time.time)


Event = StateChanged | Progress | PreviewSaved | LiveMeshSaved | Notice | Failed

_TYPES: dict[str, type] = {
    "state": StateChanged,
    "progress": Progress,
    "preview": PreviewSaved,
    "live": LiveMeshSaved,
    "notice": Notice,
    "failed": Failed,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def to_line(event: Event) -> str:
    """The event as one line of JSON, with its newline; passwords are redacted."""
    fields = dataclasses.asdict(event)
    fields = {name: redacted(value) if isinstance(value, str) else value for name, value in fields.items()}
    return json.dumps({"type": _NAMES[type(event)], **fields}, ensure_ascii=False) + "\n"


def from_line(line: str) -> Event | None:
    """The event of a line, or None where the line is none of ours (damaged, or written by a later version)."""
    try:
        fields = json.loads(line)
        return _TYPES[fields.pop("type")](**fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def read_new(path: Path, offset: int) -> tuple[list[Event], int]:
    """The events written to `path` since byte `offset`, and the offset to go on from.

    A last line that is still being written is left for the next call. A file that is not there yet has no events.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    complete = data[: data.rfind(b"\n") + 1]
    lines = complete.decode("utf-8", errors="replace").splitlines()
    events = [event for event in map(from_line, lines) if event is not None]
    return events, offset + len(complete)
