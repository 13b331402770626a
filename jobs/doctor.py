"""Runs the engine's doctor, which reports what is installed and what is missing, without blocking Blender."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ..sdi_engine.doctor import SUITABLE_PYTHONS
from ..sdi_engine.errors import EnvironmentMissingError
from . import process
from .engine import Engine

_NAMES_IN_A_SENTENCE = 3


@dataclass(frozen=True)
class Check:
    """One requirement of the engine; `fix` says what to do if it is not `ok`, or could be better."""

    name: str
    ok: bool
    detail: str
    fix: str


@dataclass(frozen=True)
class Diagnosis:
    """The doctor's report on a Python.

    Attributes:
        ok: whether the engine can run in it.
        sentence: the report in one sentence; the only content if the doctor could not be run.
        checks: one for each requirement.
        version: the Python's, such as "3.12.4"; empty if the doctor could not be run.
        executable: the Python's `sys.executable`.
        prefix: the folder of its environment, which identifies it.
        device: "cuda", "mps", "cpu", or "none" without torch.
        memory: bytes of the device, or of the computer; 0 where it is unknown.
        can_make_environments: whether it can make virtual environments with pip.
    """

    ok: bool
    sentence: str
    checks: tuple[Check, ...] = ()
    version: str = ""
    executable: str = ""
    prefix: str = ""
    device: str = ""
    can_make_environments: bool = False
    memory: int = 0

    @property
    def missing(self) -> tuple[Check, ...]:
        """The checks that are not ok."""
        return tuple(check for check in self.checks if not check.ok)

    @property
    def advice(self) -> tuple[Check, ...]:
        """The checks that are ok but could be better."""
        return tuple(check for check in self.checks if check.ok and check.fix)

    @property
    def refusal(self) -> str:
        """Why the engine cannot run in this Python, whatever is installed, such as "is too old"; empty if it can."""
        detail = next((check.detail for check in self.missing if check.name == "Python"), "")
        return detail.removeprefix(self.version).strip()

    def is_of_same_environment(self, other: Diagnosis) -> bool:
        """Whether both are of the same environment, even if its program has several names."""
        return (self.version, os.path.normcase(self.prefix)) == (other.version, os.path.normcase(other.prefix))


class Examination:
    """A running `doctor`; call `poll` until `diagnosis` is set."""

    command: ClassVar[tuple[str, ...]] = ("sdi_engine", "doctor", "--json")
    timeout_seconds: ClassVar[float] = 180.0
    """The first import of torch from a slow disk takes a minute."""

    def __init__(self, engine: Engine) -> None:
        self.diagnosis: Diagnosis | None = None
        self.engine = engine
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._folder = tempfile.TemporaryDirectory(
                prefix="sdi-doctor-",
                ignore_cleanup_errors=True,  # on Windows a process that was just killed holds its files for a while
            )
        except OSError as error:
            self.diagnosis = Diagnosis(False, _no_temporary_file(error))
            return
        self._output = Path(self._folder.name, "output.txt")
        self._started = time.monotonic()
        try:
            command = engine.module_command(*self.command)
            self._process = process.start(command, Path(self._folder.name), engine.environment(), self._output)
        except EnvironmentMissingError as error:
            self._finish(Diagnosis(False, str(error)))
        except OSError as error:
            self._finish(Diagnosis(False, str(engine.why_not_started(error))))

    def poll(self) -> bool:
        """Check for an answer; returns whether `diagnosis` is set."""
        if self.diagnosis is not None or self._process is None:
            return True
        if self._process.poll() is None:
            if time.monotonic() - self._started < self.timeout_seconds:
                return False
            self.stop()
            self._finish(Diagnosis(False, self._no_answer(f"within {self.timeout_seconds:.0f} seconds")))
            return True
        text = self._output.read_text(encoding="utf-8", errors="replace")
        self._finish(_understood(text) or Diagnosis(False, self._no_answer(_last_line(text) or "no output")))
        return True

    def stop(self) -> None:
        """End the doctor's process, whether it has answered or not."""
        if self._process is not None and self._process.poll() is None:
            process.end_tree(self._process.pid)
            self._process.wait()

    def _no_answer(self, detail: str) -> str:
        return (
            f'The engine does not answer with the Python "{self.engine.python}" ({detail}): '
            f"choose a {SUITABLE_PYTHONS} that has the engine's packages."
        )

    def _finish(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        self._folder.cleanup()


class Glance(Examination):
    """A running `doctor --quick`, which imports nothing: it answers at once, even in a Python that is too old."""

    command = ("sdi_engine.doctor", "--quick")
    timeout_seconds = 30.0


def shortened(names: Sequence[str]) -> str:
    """For example "torch, diffusers, nerfacc and 14 more"."""
    more = len(names) - _NAMES_IN_A_SENTENCE
    return ", ".join(names[:_NAMES_IN_A_SENTENCE]) + (f" and {more} more" if more > 0 else "")


def _no_temporary_file(error: OSError) -> str:
    return (
        f"The engine's Python cannot be examined, since no temporary file can be written ({error.strerror or error}): "
        "free some space, or name another folder in the environment variable TMPDIR."
    )


def _understood(text: str) -> Diagnosis | None:
    answer = _last_json_object(text)
    if answer is None or not isinstance(answer.get("checks"), list):
        return None
    checks = tuple(
        Check(str(check.get("name")), bool(check.get("ok")), str(check.get("detail", "")), str(check.get("fix", "")))
        for check in answer["checks"]
        if isinstance(check, dict)
    )
    version, executable, prefix, device = (
        str(answer.get(name, "")) for name in ("python", "executable", "prefix", "device")
    )
    diagnosis = Diagnosis(
        bool(answer.get("ok")),
        "",
        checks,
        version,
        executable,
        prefix,
        device,
        can_make_environments=bool(answer.get("can_make_environments")),
        memory=memory if isinstance(memory := answer.get("memory"), int) else 0,
    )
    return replace(diagnosis, sentence=_sentence(diagnosis))


def _sentence(diagnosis: Diagnosis) -> str:
    where = f"Python {diagnosis.version} ({diagnosis.executable})"
    if diagnosis.ok:
        return f"The engine is ready: {where}, device {diagnosis.device}."
    if diagnosis.refusal:
        fix = next(check.fix for check in diagnosis.missing if check.name == "Python")
        return f"{where} {diagnosis.refusal}. {fix}"
    names = [check.name for check in diagnosis.missing]
    return f"{where} lacks {shortened(names) or 'something'}: see below."


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
