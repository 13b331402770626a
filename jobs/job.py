"""One job as Blender sees it: its worker is another process, its state is what the job folder says."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from ..sdi_engine import events, processes
from ..sdi_engine.errors import EXIT_CANCELLED, EXIT_ENVIRONMENT, EngineError
from ..sdi_engine.job_folder import STALE_HEARTBEAT_SECONDS, JobFolder, storage_errors
from ..sdi_engine.request import JobRequest, slug
from . import process
from .engine import Engine

CANCEL_GRACE_SECONDS = 5.0
EXIT_GRACE_SECONDS = 10.0
"""How long a worker that has said its last word may take to end."""

KILL_WAIT_SECONDS = 1.0

LOG_TAIL_LINES = 12


class Job:
    """A job folder and, while it runs, its worker.

    `poll` is to be called again and again; between two calls nothing changes. All that a person may want to know
    are plain attributes: `state`, `progress`, `preview`, `notices`, `failure`.
    """

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.request: JobRequest = folder.request()
        self.state = events.QUEUED
        self.progress: events.Progress | None = None
        self.preview: events.PreviewSaved | None = None
        self.notices: list[str] = []
        self.failure: events.Failed | None = None
        self.is_cancelling = False
        self._process: subprocess.Popen[bytes] | None = None
        self._offset = 0
        self._said_its_last_word: float | None = None
        self._heard_of_worker = False
        self._kill_at = float("inf")
        self._python: Path | None = None

    @classmethod
    def create(cls, results: Path, request: JobRequest) -> Job:
        """A new job in a new folder below `results`.

        Raises:
            BadInputError: the request is not valid, or the folder cannot be written.
            StorageError: the disk is full.
        """
        request = request.validated()
        return cls(JobFolder.create(_new_folder(results, request.prompt), request))

    @property
    def is_over(self) -> bool:
        return self.state in events.FINAL_STATES

    def start(self, engine: Engine) -> None:
        """Start the worker; where that fails, the job has failed."""
        self._launch(engine, "run")

    def resume(self, engine: Engine) -> None:
        """Start the worker again from the last checkpoint; where that fails, the job has failed."""
        if not self.is_over:
            raise RuntimeError("only a job that is over can be resumed")
        self.folder.cancel_flag.unlink(missing_ok=True)
        self._launch(engine, "resume")

    def look(self) -> None:
        """Learn the state of a job that somebody else started, and whether its worker still lives."""
        self._read_events()
        if self._said_its_last_word is not None or not self._lives_elsewhere():
            self._conclude(None)

    def poll(self) -> bool:
        """Read what is new, keep the promises of `cancel`, notice the end; whether anything has changed."""
        if self.is_over:
            return False
        ended, exit_code = self._ended()  # asked first, so that the last words are read before the end is judged
        changed = self._read_events()
        now = time.monotonic()
        overdue = self._said_its_last_word is not None and now > self._said_its_last_word + EXIT_GRACE_SECONDS
        if not ended and (now > self._kill_at or overdue):
            self.kill()
            ended, exit_code = self._ended()
        if ended:
            self._read_events()
            self._conclude(exit_code)
        return changed or ended

    def cancel(self) -> None:
        """Ask the worker to stop; `poll` kills it where it does not within `CANCEL_GRACE_SECONDS`."""
        if self.is_over or self.is_cancelling:
            return
        self.is_cancelling = True
        self._kill_at = time.monotonic() + CANCEL_GRACE_SECONDS
        with storage_errors(self.folder.path):
            self.folder.cancel_flag.touch()

    def kill(self) -> None:
        """End the worker and everything it started, now."""
        if self._process is not None:
            process.end_tree(self._process.pid)
            with suppress(subprocess.TimeoutExpired):  # it hangs in a driver: `poll` will see when it is gone
                self._process.wait(KILL_WAIT_SECONDS)
            return
        pid = self._pid_elsewhere()
        if pid is not None and self._lives_elsewhere() and process.is_group_leader(pid):
            process.end_tree(pid)

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines of the worker's log; empty where there are none."""
        try:
            with self.folder.log_file.open("rb") as file:
                file.seek(max(0, self.folder.log_file.stat().st_size - 20_000))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.replace("\r", "\n").rstrip().split("\n")[-lines:])

    def _launch(self, engine: Engine, verb: str) -> None:
        self._read_events()
        self.failure = None
        self.progress = None
        self.is_cancelling = False
        self._kill_at = float("inf")
        self._said_its_last_word = None
        self._python = engine.python
        try:
            with storage_errors(self.folder.path):
                self._say(events.StateChanged(events.STARTING))
            try:
                self._process = process.start(
                    engine.command(verb, str(self.folder.path.resolve())),
                    self.folder.path,
                    engine.environment(),
                    self.folder.log_file,
                )
            except OSError as error:
                raise engine.why_not_started(error) from error
        except EngineError as error:
            self._fail(events.Failed(str(error), error.exit_code))
            return
        self._heard_of_worker = False

    def _read_events(self) -> bool:
        try:
            new, self._offset = events.read_new(self.folder.events_file, self._offset)
        except OSError:  # a network drive that is away for a moment: nothing new for now
            return False
        for event in new:
            self._take(event)
        self._heard_of_worker |= bool(new)
        return bool(new)

    def _take(self, event: events.Event) -> None:
        match event:
            case events.StateChanged(state=state) if state in events.FINAL_STATES:
                self._said_its_last_word = time.monotonic()
            case events.StateChanged(state=state):
                self.state = state
                self.failure = None
                self._said_its_last_word = None
            case events.Progress():
                self.progress = event
            case events.PreviewSaved():
                self.preview = event
            case events.Notice(message=message):
                self.notices.append(message)
            case events.Failed():
                self.failure = event

    def _ended(self) -> tuple[bool, int | None]:
        if self._process is not None:
            code = self._process.poll()
            return code is not None, code
        return not self._lives_elsewhere(), None

    def _pid_elsewhere(self) -> int | None:
        pid = (self.folder.status() or {}).get("pid")
        return pid if isinstance(pid, int) and pid > 0 else None

    def _lives_elsewhere(self) -> bool:
        pid = self._pid_elsewhere()
        if pid is None and self._said_its_last_word is not None:
            return False  # a worker takes its status away when it ends
        if pid is not None and not processes.is_alive(pid):
            return False
        return time.time() - self._last_sign_of_life() < STALE_HEARTBEAT_SECONDS

    def _last_sign_of_life(self) -> float:
        times = [file.stat().st_mtime for file in (self.folder.status_file, self.folder.events_file) if file.exists()]
        return max(times, default=0.0)

    def _conclude(self, exit_code: int | None) -> None:
        """The worker is gone: done, cancelled or failed."""
        self._process = None
        if self.folder.result() is not None:
            self.state = events.DONE
        elif self.failure is not None and not self.is_cancelling:
            self._fail(self.failure, already_said=True)
        elif self.is_cancelling or exit_code == EXIT_CANCELLED or self._last_state_said() == events.CANCELLED:
            self.state = events.CANCELLED
            self.failure = None
            if self._said_its_last_word is None:
                self._try_to_say(events.StateChanged(events.CANCELLED))
        else:
            self._fail(self._unexplained(exit_code))

    def _fail(self, failure: events.Failed, already_said: bool = False) -> None:
        self.state = events.FAILED
        self.failure = failure
        if not already_said:
            self._try_to_say(failure)
        if self._said_its_last_word is None:
            self._try_to_say(events.StateChanged(events.FAILED))

    def _unexplained(self, exit_code: int | None) -> events.Failed:
        last_line = self.log_tail(1).strip()
        detail = f" ({last_line})" if last_line else ""
        if exit_code is None:
            sentence = "The engine is gone without a result: resume the job to go on from where it was."
        elif exit_code < 0:
            name = _signal_name(-exit_code)
            memory = ", perhaps because memory ran out" if name == "SIGKILL" else ""
            sentence = f"The engine was killed ({name}){memory}: resume the job to go on from where it was."
        elif not self._heard_of_worker:
            sentence = (
                f'The engine could not start with the Python "{self._python}"{detail}: choose another in the '
                "extension's preferences and press Check."
            )
            exit_code = exit_code or EXIT_ENVIRONMENT
        else:
            sentence = (
                f"The engine ended with exit code {exit_code} and no result{detail}: look into its log, "
                "then resume the job."
            )
        return events.Failed(sentence, exit_code if exit_code is not None and exit_code > 0 else 1)

    def _last_state_said(self) -> str | None:
        every, _ = events.read_new(self.folder.events_file, 0)
        return next((event.state for event in reversed(every) if isinstance(event, events.StateChanged)), None)

    def _say(self, event: events.Event) -> None:
        """Write an event in the worker's absence; not to be read back by us."""
        self.folder.append(event)
        self._offset = self.folder.events_file.stat().st_size
        self._take(event)

    def _try_to_say(self, event: events.Event) -> None:
        with suppress(OSError):  # the disk is full or gone: what we know stays true, only the folder cannot tell
            self._say(event)


def _new_folder(results: Path, prompt: str) -> Path:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(prompt)}"
    folder = results.expanduser() / name
    number = 2
    while folder.exists():
        folder = folder.with_name(f"{name}-{number}")
        number += 1
    return folder


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
