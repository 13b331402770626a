"""Ask the engine what is installed and what is missing, without waiting for the answer."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sdi_engine.errors import EnvironmentMissingError
from . import process
from .engine import Engine

TIMEOUT_SECONDS = 180.0
"""The first import of torch from a slow disk takes a minute."""


@dataclass(frozen=True)
class Check:
    """One thing that the engine needs; `fix` says what to do where it is not `ok`."""

    name: str
    ok: bool
    detail: str
    fix: str


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor said; `sentence` is for a person, and all there is where the doctor could not be asked."""

    ok: bool
    sentence: str
    checks: tuple[Check, ...] = ()

    @property
    def missing(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok)


class Examination:
    """A running `doctor`; call `poll` until `diagnosis` is there."""

    def __init__(self, engine: Engine) -> None:
        self.diagnosis: Diagnosis | None = None
        self._engine = engine
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="sdi-doctor-")
        self._output = Path(self._folder.name, "output.txt")
        self._started = time.monotonic()
        try:
            command = engine.command("doctor", "--json")
            self._process = process.start(command, Path(self._folder.name), engine.environment(), self._output)
        except EnvironmentMissingError as error:
            self._finish(Diagnosis(False, str(error)))
        except OSError as error:
            self._finish(Diagnosis(False, str(engine.why_not_started(error))))

    def poll(self) -> bool:
        """Whether the diagnosis is there."""
        if self.diagnosis is not None or self._process is None:
            return True
        if self._process.poll() is None:
            if time.monotonic() - self._started < TIMEOUT_SECONDS:
                return False
            self.stop()
            self._finish(Diagnosis(False, self._no_answer(f"within {TIMEOUT_SECONDS:.0f} seconds")))
            return True
        text = self._output.read_text(encoding="utf-8", errors="replace")
        self._finish(_understood(text) or Diagnosis(False, self._no_answer(_last_line(text) or "to our question")))
        return True

    def stop(self) -> None:
        """End the doctor, whether it has answered or not."""
        if self._process is not None and self._process.poll() is None:
            process.end_tree(self._process.pid)
            self._process.wait()

    def _no_answer(self, detail: str) -> str:
        return (
            f'The engine does not answer with the Python "{self._engine.python}" ({detail}): '
            "choose a Python 3.11 or later that has the engine's packages."
        )

    def _finish(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        self._folder.cleanup()


def _understood(text: str) -> Diagnosis | None:
    answer = _last_json_object(text)
    if answer is None or "checks" not in answer:
        return None
    checks = tuple(
        Check(str(check.get("name")), bool(check.get("ok")), str(check.get("detail", "")), str(check.get("fix", "")))
        for check in answer["checks"]
        if isinstance(check, dict)
    )
    ok = bool(answer.get("ok"))
    where = f"Python {answer.get('python')} ({answer.get('executable')})"
    if ok:
        return Diagnosis(True, f"The engine is ready: {where}, device {answer.get('device')}.", checks)
    names = ", ".join(check.name for check in checks if not check.ok)
    return Diagnosis(False, f"{where} lacks {names or 'something'}: see below.", checks)


def _last_json_object(text: str) -> dict[str, Any] | None:
    lines = text.splitlines()
    for start in reversed([number for number, line in enumerate(lines) if line.startswith("{")]):
        try:
            value = json.loads("\n".join(lines[start:]))
        except ValueError:
            continue
        return value if isinstance(value, dict) else None
    return None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
