"""Installs and removes the engine's own environment in the background: start, poll, cancel."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from ..sdi_engine import install
from ..sdi_engine.contract import events
from ..sdi_engine.errors import EXIT_CANCELLED, EngineError, StorageError
from . import process
from .engine import Engine

_TRIES = 20
_SECONDS_BETWEEN_TRIES = 0.5


class Installation:
    """A running installation; call `poll` until `is_over`. Then `succeeded` and `sentence` have the result.

    Args:
        base: the Python to make the environment with.
        folder: where to make it. If the installation fails or is cancelled, its files are removed; an earlier
            environment stays in use until the new one works.
        package_parent: the folder that contains `sdi_engine`.
        torch_index: the package index that torch comes from; empty for the same index as all other packages.
        requirements: a requirements file to install instead of the engine's own.
    """

    def __init__(
        self,
        base: Path,
        folder: Path,
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
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup: Cleanup | None = None
        self._failure: events.Failed | None = None
        self._offset = 0
        engine = Engine(base, package_parent, online=True)
        command = engine.module_command("sdi_engine.install", str(folder))
        command += [f"--torch-index={torch_index}"] if torch_index else []
        command += [f"--requirements={requirements}"] if requirements is not None else []
        self.log_file: Path | None = None
        try:  # not beside the folder, where another Blender's installation would write into the same log
            opened, name = tempfile.mkstemp(prefix="sdi-installation-", suffix=".log")
            os.close(opened)
            self.log_file = Path(name)
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._process = process.start(command, folder.parent, engine.environment(), self.log_file)
        except OSError as error:
            self._end(False, f"The installation could not be started ({error.strerror or error}): try another Python.")

    def poll(self) -> bool:
        """Read new progress, and notice the end; returns whether anything has changed."""
        if self.is_over:
            return False
        if self._cleanup is not None:
            if self._cleanup.poll():
                self._end(False, self.sentence)
            return self.is_over
        assert self._process is not None
        exit_code = self._process.poll()  # checked first, so that the last output is read before the end is judged
        changed = self._read()
        if exit_code is not None:
            self._conclude(exit_code)
        return changed or exit_code is not None

    def cancel(self) -> None:
        """Stop it at once and remove what it has installed; an earlier environment stays."""
        if self.is_over or self.is_cancelling:
            return
        self.is_cancelling = True
        self.stop()
        self._clean_up("The installation was cancelled.")

    def stop(self) -> None:
        """Stop it at once, and leave its files to be removed by the next installation."""
        if self._process is not None and self._process.poll() is None:
            process.end_tree(self._process.pid)

    def _read(self) -> bool:
        assert self.log_file is not None
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
            self._end(False, "The installation was cancelled.")
        elif self._failure is not None:
            self._end(False, self._failure.message)
        else:
            self._clean_up(
                f"The installation ended unexpectedly (exit code {exit_code}): read its log, then try again."
            )

    def _clean_up(self, sentence: str) -> None:
        self.sentence = sentence
        self.phase = "Removing what was installed"
        self._cleanup = Cleanup(self._folder)

    def _end(self, succeeded: bool, sentence: str) -> None:
        self.is_over, self.succeeded, self.sentence = True, succeeded, sentence
        if succeeded and self.log_file is not None:
            with suppress(OSError):
                self.log_file.unlink(missing_ok=True)


class Cleanup:
    """Removes, in a thread, the remains of environments that are not in use; call `poll` until it is over.

    `sentence` then says what went wrong, if the person should know it; else it is empty.
    """

    def __init__(self, folder: Path) -> None:
        self.sentence = ""
        self._folder = folder
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def poll(self) -> bool:
        """Whether it is over."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        sentence = ""
        for attempt in range(_TRIES):  # on Windows a process that was just killed holds its files for a while
            if attempt:
                time.sleep(_SECONDS_BETWEEN_TRIES)
            try:
                with install.lock_of(self._folder) as lock:
                    if lock.acquire():
                        self._work()
                        return
                sentence = f'An installation into "{self._folder}" is under way: wait until it ends.'
            except StorageError as error:  # a process runs in it, which may be about to end
                sentence = str(error)
            except EngineError as error:
                sentence = str(error)
                break
            except OSError as error:
                reason = error.strerror or error
                sentence = f'"{self._folder}" could not be removed ({reason}): end what uses it, then remove it again.'
        self._conclude(sentence)

    def _work(self) -> None:
        install.tidy(self._folder)

    def _conclude(self, sentence: str) -> None:
        """Nothing to say: the person did not ask for it, and the next installation removes what is left."""


class Removal(Cleanup):
    """Removes all of the engine's own environments, in a thread, when the person asks for it."""

    def _work(self) -> None:
        install.remove(self._folder)

    def _conclude(self, sentence: str) -> None:
        self.sentence = sentence
