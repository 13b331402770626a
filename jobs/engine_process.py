"""The engine's process, from the side of the Blender that starts it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.job_queue import JobQueue
from ..sdi_engine.errors import EXIT_ENVIRONMENT, EXIT_STORAGE, EngineError
from ..sdi_engine.system import processes
from ..sdi_engine.system.machine import neutral_folder
from . import process
from .engine import Engine
from .job import log_tail

MAX_VAIN_STARTS = 3
"""After so many starts without the engine ever serving, another start will not help."""

LAST_SECONDS = 2.0
"""How long a process that has ended is waited for, until its last thread is gone, too, and its exit code is there."""

_SAYS_WHY = (EXIT_ENVIRONMENT, EXIT_STORAGE)
"""Exit codes of an engine whose log ends with cause and cure; a program that is not the engine may end with others."""


class EngineProcess:
    """Starts the engine, and explains why if that is not possible.

    Attributes:
        trouble: why no engine can be started, as one sentence; empty if it is not known to be impossible.
        trouble_code: the exit code of jobs that fail for that reason.
        exit_code: that of the last engine started here, once it has ended; else None.
    """

    def __init__(self, queue: JobQueue) -> None:
        self.trouble = ""
        self.trouble_code = EXIT_ENVIRONMENT
        self.exit_code: int | None = None
        self._queue = queue
        self._process: subprocess.Popen[bytes] | None = None
        self._has_served = False
        self._vain_starts = 0
        self._engine: Engine | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the engine that was started here has not ended yet."""
        return self._process is not None

    @property
    def is_starting(self) -> bool:
        """Whether the engine was started here but does not serve the queue yet."""
        return self._process is not None and not self._has_served

    def start(self, engine: Engine, idle_minutes: float) -> None:
        """Start an engine; if that fails, `trouble` says why."""
        self._engine = engine
        self.exit_code = None
        self._has_served = False
        results = Path(os.path.realpath(self._queue.results))  # `resolve` fails at a loop of links
        try:
            engine.check()
            with storage_errors(results):
                self._queue.make_folders()
                folder = neutral_folder()
            several = ["--processes", str(engine.processes or "auto")] if engine.processes != 1 else []
            elsewhere = ["--cluster", engine.cluster] if engine.cluster else []
            command = engine.command("serve", str(results), "--idle-minutes", str(idle_minutes), *several, *elsewhere)
            try:
                self._process = process.start(command, folder, engine.environment(), self._queue.log_file)
            except OSError as error:
                raise engine.why_not_started(error) from error
        except EngineError as error:
            self.trouble, self.trouble_code = str(error), error.exit_code

    def end_if_other_than(self, engine: Engine) -> None:
        """End a process that was started with other settings and does not serve yet: a wrong program may never do."""
        if self._process is None or self._has_served or self._engine == engine:
            return
        process.end_tree(self._process.pid)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_SECONDS)
        self._process = None

    def code_at_its_end(self) -> int | None:
        """`exit_code`, of an engine, too, that has ended since `poll`."""
        if self._process is not None and processes.start_time(self._process.pid) is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LAST_SECONDS)
        self.poll(is_served=False)
        return self.exit_code

    def poll(self, is_served: bool) -> None:
        """Notice that the engine serves the queue (`is_served`), or has ended."""
        if self._process is None:
            return
        self._has_served |= is_served
        code = self._process.poll()
        if code is None:
            return
        self._process = None
        self.exit_code = code
        self._vain_starts = 0 if self._has_served else self._vain_starts + 1
        is_failure = code > 0  # below 0 it was killed
        if self._vain_starts and (is_failure or self._vain_starts >= MAX_VAIN_STARTS):
            self.trouble = self._why(code)
            self.trouble_code = code if code in _SAYS_WHY else EXIT_ENVIRONMENT

    def try_again(self) -> None:
        """Clear `trouble`, so that another start is tried: the cause may have been removed."""
        self.trouble = ""
        self._vain_starts = 0

    def _why(self, code: int) -> str:
        last_line = log_tail(self._queue.log_file, 1).strip()
        if last_line and code in _SAYS_WHY:
            return last_line
        detail = f" ({last_line})" if last_line else f" (exit code {code})"
        python = self._engine.python if self._engine is not None else None
        return (
            f'The engine could not start with the Python "{python}"{detail}: choose another in the extension\'s '
            "preferences and press Check."
        )
