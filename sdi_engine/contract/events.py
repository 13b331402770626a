"""What a running job says: one JSON object per line of `events.jsonl`. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from ..system import files
from ..system.redaction import redacted
from ..system.untrusted import is_plain_name, parse_json

QUEUED = "queued"
STARTING = "starting"
RUNNING = "running"
EXPORTING = "exporting"
DONE = "done"
CANCELLED = "cancelled"
FAILED = "failed"
PAUSED = "paused"
STATES = (QUEUED, STARTING, RUNNING, EXPORTING, DONE, CANCELLED, FAILED, PAUSED)
BLENDER = "blender"
"""The `by` of an event that Blender writes, where no engine works on the job."""

FINAL_STATES = (DONE, CANCELLED, FAILED, PAUSED)
"""States in which no worker works on the job, and none will until the person resumes it."""

MAX_LINE_BYTES = 64 * 2**10
MAX_NEW_BYTES = 8 * 2**20
"""More than a run of some hours writes; of a longer file only the end is read."""

MAX_SENTENCE = 4000
"""Characters of a sentence; a longer one is cut."""

MAX_COUNT = 2**32
"""Limit of steps, and of exit codes, which on Windows have 32 bits."""


@dataclass(frozen=True)
class StateChanged:
    """The job has entered one of `STATES`; `by` says who wrote the event, empty for the engine."""

    state: str
    time: float = field(default_factory=time.time)
    by: str = ""


@dataclass(frozen=True)
class Progress:
    """Step `step` of `steps` in a phase ("Loading the model", "Optimising", ...), and a share `within` of the next one.

    `rate` in steps per second and `eta` in seconds until the phase ends, both measured; None while unknown.
    """

    phase: str
    step: int
    steps: int
    rate: float | None = None
    eta: float | None = None
    within: float = 0.0
    time: float = field(default_factory=time.time)

    @property
    def share(self) -> float:
        """How much of the phase is done, 0…1."""
        return min(1.0, (self.step + self.within) / self.steps) if self.steps else 0.0


@dataclass(frozen=True)
class PreviewSaved:
    """A new picture of the current state; `file` lies right in the job folder, `step` is the step it shows."""

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
    """The job has failed; `message` is one sentence with cause and cure; `by` as in `StateChanged`."""

    message: str
    exit_code: int
    time: float = field(default_factory=time.time)
    by: str = ""


Event = Union[StateChanged, Progress, PreviewSaved, LiveMeshSaved, Notice, Failed]  # noqa: UP007 (for Python 3.8 too)

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
    """The event as one line of JSON, with its newline; passwords are redacted, and sentences cut to `MAX_SENTENCE`."""
    fields = {
        name: redacted(value)[:MAX_SENTENCE] if isinstance(value, str) else value for name, value in vars(event).items()
    }
    return json.dumps({"type": _NAMES[type(event)], **fields}, ensure_ascii=False) + "\n"


def from_line(line: str) -> Event | None:
    """The event of a line; None for a line that is damaged or of a kind that only a later version knows.

    Fields that only a later version knows are ignored. Every field has its type and lies in its range: a state is one
    of `STATES`, a step is not negative, a number is finite, a file is a plain name.
    """
    try:
        fields = parse_json(line)
        kind = _TYPES[fields.pop("type")]
        known = {each.name: _CHECKS[str(each.type)] for each in dataclasses.fields(kind)}
        event: Event = kind(**{name: known[name](value) for name, value in fields.items() if name in known})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return event if _is_sound(event) else None


def read_new(path: Path, offset: int) -> tuple[list[Event], int]:
    """The events written to `path` since byte `offset`, and the offset to go on from.

    A last line that is still being written is left for the next call. A file that is not there yet has no events. Of
    more than `MAX_NEW_BYTES` only the last are read, and no line of more than `MAX_LINE_BYTES`. Raises OSError.
    """
    try:
        with files.open_to_read(path) as file:
            size = file.seek(0, os.SEEK_END)
            begin = max(offset, size - MAX_NEW_BYTES)
            file.seek(begin)
            data = file.read(MAX_NEW_BYTES)
    except FileNotFoundError:
        return [], offset
    complete = data[: data.rfind(b"\n") + 1]
    lines = complete.split(b"\n")[1 if begin > offset else 0 :]
    ours = (line for line in lines if line.startswith(b"{") and len(line) <= MAX_LINE_BYTES)
    events = [event for line in ours if (event := from_line(line.decode("utf-8", errors="replace"))) is not None]
    rest = len(data) - len(complete)
    return events, begin + (len(complete) if rest < MAX_LINE_BYTES else len(data))


def last_state(path: Path) -> str | None:
    """The state of the last `StateChanged`; None where there is no such event. Raises OSError."""
    said, _ = read_new(path, 0)
    return next((event.state for event in reversed(said) if isinstance(event, StateChanged)), None)


def _is_sound(event: Event) -> bool:
    if isinstance(event, StateChanged):
        return event.state in STATES
    if isinstance(event, Progress):
        return all(number is None or number >= 0.0 for number in (event.rate, event.eta)) and 0.0 <= event.within <= 1.0
    return not isinstance(event, PreviewSaved) or is_plain_name(event.file)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value[:MAX_SENTENCE]


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise TypeError(f"{value!r} is not a count")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError(f"{value!r} is not a number")
    return value


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "int": _count,
    "float": _number,
    "float | None": _number_or_none,
}
"""By a field's type, as its annotation is written."""
