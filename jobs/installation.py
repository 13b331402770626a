"""The engine's own environment seen from outside: make it, watch that, cancel it, remove it; nobody waits."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from ..sdi_engine import events
from ..sdi_engine.errors import EXIT_CANCELLED
from ..sdi_engine.install import STAMP
from . import process
from .engine import Engine

LOG_NAME = "installation.log"

_TRIES_TO_REMOVE = 20
_SECONDS_BETWEEN_TRIES = 0.5


class Installation:
    """A running installation; call `poll` until `is_over`. Then `succeeded` and `sentence` say what became of it.

    Args:
        base: the Python 3.11 or later to make the environment with.
        environment: the folder, which is made anew; removed again where the installation fails or is cancelled.
        package_parent: the folder that contains `sdi_engine`.
        torch_index: where torch comes from; empty for where everything else does.
        requirements: what to install instead of the engine's own requirements.
    """

    def __init__(
        self,
        base: Path,
        environment: Path,
        package_parent: Path,
        torch_index: str = "",
        requirements: Path | None = None,
    ) -> None:
        self.phase = "Starting"
        self.fraction = 0.0
        self.is_over = False
        self.is_cancelling = False
        self.succeeded = False
        self.sentence = ""
        self.log_file = environment.with_name(LOG_NAME)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._removal: Removal | None = None
        self._failure: events.Failed | None = None
        self._offset = 0
        engine = Engine(base, package_parent, online=True)
        command = engine.module_command("sdi_engine.install", str(environment))
        command += [f"--torch-index={torch_index}"] if torch_index else []
        command += [f"--requirements={requirements}"] if requirements is not None else []
        try:
            environment.parent.mkdir(parents=True, exist_ok=True)
            self.log_file.unlink(missing_ok=True)
            self._process = process.start(command, environment.parent, engine.environment(), self.log_file)
        except OSError as error:
            self._end(False, f"The installation could not be started ({error.strerror or error}): try another Python.")

    def poll(self) -> bool:
        """Read what is new, notice the end; whether anything has changed."""
        if self.is_over:
            return False
        if self._removal is not None:
            if self._removal.poll():
                self._end(False, self.sentence)
            return self.is_over
        assert self._process is not None
        exit_code = self._process.poll()  # asked first, so that the last words are read before the end is judged
        changed = self._read()
        if exit_code is not None:
            self._conclude(exit_code)
        return changed or exit_code is not None

    def cancel(self) -> None:
        """Stop it at once; what was installed so far is removed."""
        if self.is_over or self.is_cancelling:
            return
        self.is_cancelling = True
        self.stop()
        self._remove("The installation was cancelled.")

    def stop(self) -> None:
        """Stop it at once, and leave what is there to the next installation."""
        if self._process is not None and self._process.poll() is None:
            process.end_tree(self._process.pid)

    def _read(self) -> bool:
        try:
            new, self._offset = events.read_new(self.log_file, self._offset)
        except OSError:
            return False
        for event in new:
            if isinstance(event, events.Progress):
                self.phase = event.phase
                self.fraction = event.step / event.steps if event.steps > 0 else 0.0
            elif isinstance(event, events.Failed):
                self._failure = event
        return bool(new)

    def _conclude(self, exit_code: int) -> None:
        if exit_code == 0:
            self._end(True, "The engine's environment is installed.")
        elif exit_code == EXIT_CANCELLED:
            self._remove("The installation was cancelled.")
        elif self._failure is not None:
            self._remove(self._failure.message)
        else:
            self._remove(f"The installation ended unexpectedly (exit code {exit_code}): read its log, then try again.")

    def _remove(self, sentence: str) -> None:
        self.sentence = sentence
        self.phase = "Removing what was installed"
        self._removal = Removal(self._environment)

    def _end(self, succeeded: bool, sentence: str) -> None:
        self.is_over, self.succeeded, self.sentence = True, succeeded, sentence


class Removal:
    """An environment on its way out, in a thread; call `poll` until it is gone. `sentence` says so where it is not."""

    def __init__(self, environment: Path) -> None:
        self.sentence = ""
        self._environment = environment
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def poll(self) -> bool:
        """Whether it is over."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(OSError):  # without its stamp it counts no more, however much of it stays
            (self._environment / STAMP).unlink(missing_ok=True)
        for attempt in range(_TRIES_TO_REMOVE):  # on Windows a process that was just killed holds its files for a while
            if attempt:
                time.sleep(_SECONDS_BETWEEN_TRIES)
            shutil.rmtree(self._environment, ignore_errors=True)
            if not self._environment.exists():
                return
        self.sentence = f'"{self._environment}" could not be removed: end what uses it, then remove it again.'
