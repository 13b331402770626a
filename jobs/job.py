"""One job as Blender sees it: the engine is another process, the job's state is what its folder says."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from ..sdi_engine.contract import attendance, events
from ..sdi_engine.contract.job_folder import JobFolder, storage_errors
from ..sdi_engine.contract.request import JobRequest, slug
from ..sdi_engine.system.files import open_to_read, touch
from ..sdi_engine.system.liveness import Clock, Stopwatch
from . import process

CANCEL_GRACE_SECONDS = 5.0
CANCEL_GRACE_STEPS = 3.0
"""The engine looks for the flag after each step: slow steps give it longer."""

LONGEST_GRACE_SECONDS = 60.0

EXIT_GRACE_SECONDS = 10.0
"""How long the engine may be at a job of which it has said its last word."""

MISSING_SECONDS = 2.0
"""A network drive may miss a folder for an instant."""

LOG_TAIL_LINES = 12

_DELETED = events.Failed("The job's folder was deleted, and with it what the job had reached: generate it again.", 1)


class Job:
    """A job folder, and what is said in it.

    `poll` is to be called again and again; between two calls nothing changes. All that a person may want to know
    are plain attributes: `state`, `progress`, `preview`, `live_step`, `notices`, `failure`, `elsewhere`.

    That nobody is at a job any more is our conclusion. It is kept here, and drawn anew by whoever looks: the folder
    says only what the engine said, and what a person did.
    """

    def __init__(self, folder: JobFolder, clock: Clock = time.monotonic) -> None:
        self.folder = folder
        self.request: JobRequest = folder.request()
        self.state = events.QUEUED
        self.progress: events.Progress | None = None
        self.preview: events.PreviewSaved | None = None
        self.live_step: int | None = None
        self.notices: list[str] = []
        self.failure: events.Failed | None = None
        self.is_cancelling = False
        self.is_finishing = False
        self.is_pausing = False
        self.elsewhere = ""
        """The name of the machine whose engine is at the job; empty where it is this one, or unknown."""
        self.is_given_up = False
        """Whether it is over only because nothing was heard of its engine for long: that may turn out to be wrong."""
        self._clock = clock
        self._offset = 0
        self._said_state = events.QUEUED
        self._since_last_word: Stopwatch | None = None
        self._since_request: Stopwatch | None = None
        self._since_missing: Stopwatch | None = None
        self._patience = 0.0

    @classmethod
    def create(cls, results: Path, request: JobRequest, prefix: str = "") -> Job:
        """A new job in a new folder below `results`, whose name begins with `prefix`.

        Raises:
            BadInputError: the request is not valid, or the folder cannot be written.
            StorageError: the disk is full.
        """
        request = request.validated()
        name = f"{prefix}{time.strftime('%Y%m%d-%H%M%S')}-{slug(request.prompt)}"
        return cls(JobFolder.create_new(results.expanduser(), name, request))

    @property
    def name(self) -> str:
        """The job's folder's name."""
        return self.folder.path.name

    @property
    def is_over(self) -> bool:
        return self.state in events.FINAL_STATES

    @property
    def is_resumable(self) -> bool:
        """Whether it was stopped or has failed, and there is something left to go on from."""
        return self.state in (events.CANCELLED, events.FAILED, events.PAUSED) and self.failure is not _DELETED

    def is_deleted(self) -> bool:
        """Whether the folder has been gone for a while from a results folder that is there; to be asked again."""
        try:
            if self.folder.path.exists():
                self._since_missing = None
                return False
            self._since_missing = self._since_missing or Stopwatch(self._clock)
            return self._since_missing.look() >= MISSING_SECONDS and attendance.results_of(self.folder).folder.exists()
        except OSError:
            return False

    def refresh(self, waits: bool) -> None:
        """Learn the state of a job that somebody else began; `waits`: whether it is in the queue."""
        self._read_events()
        if not waits and (self._since_last_word is not None or not self._is_attended()):
            self._conclude(None)

    def poll(self, waits: bool, engine_exit_code: int | None = None) -> bool:
        """Read what is new, keep the promises of `cancel`, notice the end; whether anything has changed.

        Args:
            waits: whether the job is in the queue, so that nobody is at it yet.
            engine_exit_code: of the engine, where it is known to have ended.
        """
        if self.is_given_up:
            return self._is_back()
        if self.is_over:
            return False
        if waits:
            return False
        if self.is_deleted():
            self._fail(_DELETED)
            return True
        if self._since_missing is not None:
            return False
        ended = not self._is_attended()  # asked first, so that the last words are read before the end is judged
        changed = self._read_events()
        if not ended and self._lingers():
            self.kill()
            ended = True
        elif not ended and self._is_deaf():
            changed |= self._end_engine()
            ended = not self._is_attended()
        if ended:
            self._read_events()
            self._conclude(engine_exit_code)
        return changed or ended

    def wait_again(self) -> None:
        """Get ready for another turn, in which the job goes on from its last checkpoint; raises OSError."""
        self._read_events()
        folder = self.folder
        # The status may be that of an engine which was killed, for which the next one would be taken at first.
        for file in (folder.cancel_flag, folder.finish_flag, folder.pause_flag, folder.status_file):
            file.unlink(missing_ok=True)
        self.failure = None
        self.progress = None
        self.is_cancelling = self.is_finishing = self.is_pausing = self.is_given_up = False
        self.elsewhere = ""
        self._since_last_word = self._since_request = None
        self._say(events.StateChanged(events.QUEUED, by=events.BLENDER))

    def withdraw(self) -> None:
        """Cancel a job that nobody is at."""
        self.is_cancelling = True
        self.state = events.CANCELLED
        self._try_to_say(events.StateChanged(events.CANCELLED, by=events.BLENDER))

    def give_up(self, sentence: str, exit_code: int) -> None:
        """Let a job fail that nobody is at."""
        self._fail(events.Failed(sentence, exit_code, by=events.BLENDER))
        self._try_to_say(self.failure, events.StateChanged(events.FAILED, by=events.BLENDER))

    def cancel(self) -> None:
        """Ask the engine to stop; `poll` ends it where it does not in time, and runs here.

        Raises:
            StorageError: the folder cannot be written.
        """
        if not self.is_over and not self.is_cancelling:
            self.is_cancelling = True
            self._ask_to_stop(self.folder.cancel_flag)

    def pause(self) -> None:
        """Ask the engine to stop for now; as `cancel`, but the job is meant to go on."""
        if not self.is_over and not self.is_pausing:
            self.is_pausing = True
            self._ask_to_stop(self.folder.pause_flag)

    def finish(self) -> None:
        """Ask the engine to make a mesh of what it has; raises StorageError."""
        with storage_errors(self.folder.path):
            touch(self.folder.finish_flag)
        self.is_finishing = True

    def kill(self) -> None:
        """End the engine that is at this job, and everything it started, now."""
        if attendance.is_ours_to_end(self.folder):
            pid = (self.folder.status() or {})["pid"]
            if process.is_group_leader(pid):
                process.end_tree(pid)

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines of the job's log; empty where there are none."""
        return log_tail(self.folder.log_file, lines)

    def _ask_to_stop(self, flag: Path) -> None:
        rate = self.progress.rate if self.progress is not None else None
        patience = max(CANCEL_GRACE_SECONDS, CANCEL_GRACE_STEPS / rate if rate else 0.0)
        self._patience = min(patience, LONGEST_GRACE_SECONDS)
        self._since_request = Stopwatch(self._clock)
        with storage_errors(self.folder.path):
            touch(flag)

    def _read_events(self) -> bool:
        try:
            new, self._offset = events.read_new(self.folder.events_file, self._offset)
        except OSError:  # a network drive that is away for a moment: nothing new for now
            return False
        for event in new:
            self._take(event)
        return bool(new)

    def _take(self, event: events.Event) -> None:
        match event:
            case events.StateChanged(state=state) if state in events.FINAL_STATES:
                self._said_state = state
                self._since_last_word = Stopwatch(self._clock)
            case events.StateChanged(state=state) if state in events.STATES:
                self.state = self._said_state = state
                self.failure = None
                self._since_last_word = None
            case events.Progress():
                self.progress = event
            case events.PreviewSaved():
                self.preview = event
            case events.LiveMeshSaved(step=step):
                self.live_step = step
            case events.Notice(message=message):
                self.notices.append(message)
            case events.Failed():
                self.failure = event

    def _is_attended(self) -> bool:
        """Whether an engine is at this job, as far as can be told."""
        if self._since_last_word is not None and self.folder.status() is None:
            return False  # the engine takes the status away when it leaves a job
        self.elsewhere = attendance.machine_elsewhere(self.folder)
        return attendance.is_attended(self.folder, self._clock)

    def _lingers(self) -> bool:
        """Whether the engine should have left the job long ago, of which it has said its last word."""
        return self._since_last_word is not None and self._since_last_word.look() > EXIT_GRACE_SECONDS

    def _is_deaf(self) -> bool:
        """Whether the engine should have heard by now that it is to stop."""
        return self._since_request is not None and self._since_request.look() > self._patience

    def _end_engine(self) -> bool:
        """End the engine that does not listen, or say why not; whether there is anything new."""
        self._since_request = None
        if attendance.is_ours_to_end(self.folder):
            self.kill()
            return False
        where = self.elsewhere or "another machine"
        notice = f"The job's engine runs on {where}: it was asked to stop, and is not to be ended from here."
        if notice in self.notices:
            return False
        self.notices.append(notice)
        return True

    def _is_back(self) -> bool:
        """Whether a job that was given up goes on after all."""
        if not self._read_events() and not self._is_attended():
            return False
        self.is_given_up = False
        self.state, self.failure = self._said_state, None
        return True

    def _conclude(self, exit_code: int | None) -> None:
        """Nobody is at the job any more: done, cancelled, paused or failed."""
        if self.folder.result() is not None:
            self.state = events.DONE
        elif self.failure is not None and not self.is_cancelling:
            self._fail(self.failure)
        elif self._said_state in events.FINAL_STATES and not self.is_cancelling:
            self._stop(self._said_state)
        elif self.is_cancelling or self.folder.cancel_flag.exists():
            self._stop(events.CANCELLED)
        elif self.is_pausing or self.folder.pause_flag.exists():
            self._stop(events.PAUSED)
        else:
            self._fail(self._unexplained(None if self.elsewhere else exit_code))
            self.is_given_up = attendance.may_come_back(self.folder)

    def _stop(self, state: str) -> None:
        self.state = state
        self.failure = None

    def _fail(self, failure: events.Failed) -> None:
        self.state = events.FAILED
        self.failure = failure

    def _unexplained(self, exit_code: int | None) -> events.Failed:
        last_line = self.log_tail(1).strip()
        detail = f" ({last_line})" if last_line else ""
        if exit_code is None:
            sentence = "The engine is gone without a result: resume the job to go on from where it was."
        elif exit_code < 0:
            name = _signal_name(-exit_code)
            memory = ", perhaps because memory ran out" if name == "SIGKILL" else ""
            sentence = f"The engine was killed ({name}){memory}: resume the job to go on from where it was."
        else:
            sentence = (
                f"The engine ended with exit code {exit_code} and no result{detail}: look into its log, "
                "then resume the job."
            )
        return events.Failed(sentence, exit_code if exit_code is not None and exit_code > 0 else 1)

    def _say(self, event: events.Event) -> None:
        """Write what the person did, in the engine's absence; not to be read back by us."""
        self.folder.append(event)
        self._offset = self.folder.events_file.stat().st_size
        self._take(event)

    def _try_to_say(self, *said: events.Event) -> None:
        with suppress(OSError):  # the disk is full or gone: what we know stays true, only the folder cannot tell
            for event in said:
                self._say(event)


def log_tail(file: Path, lines: int) -> str:
    """The last lines of a log; empty where there is none."""
    try:
        with open_to_read(file) as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - 20_000))
            text = opened.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.replace("\r", "\n").rstrip().split("\n")[-lines:])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
