"""One job from Blender's side: its engine is another process, and its state is read from its folder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..sdi_engine.contract import attendance, events
from ..sdi_engine.contract.job_folder import JobFolder, storage_errors
from ..sdi_engine.contract.request import JobRequest, slug
from ..sdi_engine.errors import BadInputError
from ..sdi_engine.system.files import (
    MISSING_SECONDS,
    device_of,
    is_there,
    open_to_read,
    remove_file,
    touch,
    was_deleted,
)
from ..sdi_engine.system.liveness import Clock, Stopwatch
from . import process

CANCEL_GRACE_SECONDS = 5.0
CANCEL_GRACE_STEPS = 3.0
"""The engine checks for the flag after each step, so slow steps get more time."""

LONGEST_GRACE_SECONDS = 60.0

EXIT_GRACE_SECONDS = 10.0
"""How long the engine may keep a job's status after it has reported the job's end."""

LOG_TAIL_LINES = 12

_DELETED = events.Failed("The job's folder was deleted, and its progress with it: generate it again.", 1)


class Job:
    """A job folder, and what has been reported in it.

    Call `poll` repeatedly; between two calls nothing changes. All that is shown to a person are plain attributes:
    `state`, `progress`, `preview`, `live_step`, `notices`, `failure`, `elsewhere`.

    That no engine works on a job any more is a conclusion, which is kept in memory and which every Blender draws for
    itself: the folder only has what the engine reported and what a person did.
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
        """The name of the other machine whose engine works on the job; empty if it is this one, or unknown."""
        self.is_given_up = False
        """Whether it counts as over only because its engine has long been silent, which may turn out to be wrong."""
        self._clock = clock
        self._device = device_of(folder.path)
        self._offset = 0
        self._reported_state = events.QUEUED
        self._since_reported_end: Stopwatch | None = None
        self._since_request: Stopwatch | None = None
        self._since_missing: Stopwatch | None = None
        self._patience = 0.0

    @classmethod
    def create(cls, results: Path, request: JobRequest, prefix: str = "") -> Job:
        """A new job in a new folder in `results`, whose name begins with `prefix`.

        Raises:
            BadInputError: the request is not valid, or the folder cannot be written.
            StorageError: the disk is full.
        """
        request = request.validated()
        name = f"{prefix}{time.strftime('%Y%m%d-%H%M%S')}-{slug(request.prompt)}"
        return cls(JobFolder.create_new(results, name, request))

    @property
    def name(self) -> str:
        """The name of the job's folder."""
        return self.folder.path.name

    @property
    def is_over(self) -> bool:
        """Whether its state is one of `events.FINAL_STATES`."""
        return self.state in events.FINAL_STATES

    @property
    def is_resumable(self) -> bool:
        """Whether it was stopped or has failed, and its folder still exists."""
        return self.state in (events.CANCELLED, events.FAILED, events.PAUSED) and self.failure is not _DELETED

    @property
    def is_gone(self) -> bool:
        """Whether its folder is missing, alone or with all around it, while the drive that it was on is there."""
        return was_deleted(self.folder.path, self._device)

    def is_deleted(self) -> bool:
        """Whether its folder `is_gone` and has been missing for `MISSING_SECONDS`; ask repeatedly."""
        if is_there(self.folder.path):
            self._since_missing = None
            return False
        self._since_missing = self._since_missing or Stopwatch(self._clock)
        return self._since_missing.look() >= MISSING_SECONDS and self.is_gone

    def refresh(self, waits: bool) -> None:
        """Read the state of a job that another Blender submitted; `waits`: whether it is in the queue."""
        self._read_events()
        if not waits and (self._since_reported_end is not None or not self._is_attended()):
            self._conclude(None)

    def poll(self, waits: bool, engine_exit_code: Callable[[], int | None] = lambda: None) -> bool:
        """Read new events, kill an engine that does not stop, notice the end; returns whether anything has changed.

        Args:
            waits: whether the job is in the queue, so that no engine works on it yet.
            engine_exit_code: returns the engine's exit code, if it is known to have ended; asked once it has.
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
        ended = not self._is_attended()  # checked first, so that the last events are read before the end is judged
        changed = self._read_events()
        if not ended and self._lingers():
            self.kill()
            ended = True
        elif not ended and self._ignores_request():
            changed |= self._end_engine()
            ended = not self._is_attended()
        if ended:
            self._read_events()
            self._conclude(engine_exit_code())
        return changed or ended

    def refuse_at_work(self) -> None:
        """Raise BadInputError where an engine on this machine is at the job, though here it counts as over."""
        if attendance.is_at_work_here(self.folder):
            raise BadInputError("An engine is at this job already: another Blender, or a command, has resumed it.")

    def wait_again(self) -> None:
        """Prepare the folder for the queue, so that the job resumes from its last checkpoint; raises OSError."""
        self._read_events()
        folder = self.folder
        # A status left by a killed engine would at first be taken for that of the next one.
        for file in (folder.cancel_flag, folder.finish_flag, folder.pause_flag, folder.status_file):
            remove_file(file, missing_ok=True)
        self.failure = None
        self.progress = None
        self.is_cancelling = self.is_finishing = self.is_pausing = self.is_given_up = False
        self.elsewhere = ""
        self._since_reported_end = self._since_request = None
        self._report(events.StateChanged(events.QUEUED, by=events.BLENDER))

    def withdraw(self, state: str = events.CANCELLED) -> None:
        """Cancel a job that no engine has taken, or pause it (`events.PAUSED`)."""
        self.is_cancelling, self.is_pausing = state == events.CANCELLED, state == events.PAUSED
        self.state = state
        self._try_to_report(events.StateChanged(state, by=events.BLENDER))

    def give_up(self, sentence: str, exit_code: int) -> None:
        """Let a job fail that no engine has taken."""
        self._fail(events.Failed(sentence, exit_code, by=events.BLENDER))
        self._try_to_report(self.failure, events.StateChanged(events.FAILED, by=events.BLENDER))

    def cancel(self) -> None:
        """Ask the engine to stop; if it runs here and does not stop in time, `poll` kills it.

        Raises:
            StorageError: the folder cannot be written.
        """
        if not self.is_over and not self.is_cancelling:
            self.is_cancelling = True
            self._ask_to_stop(self.folder.cancel_flag)

    def pause(self) -> None:
        """Like `cancel`, but for a job that will be resumed; raises StorageError."""
        if not self.is_over and not self.is_pausing:
            self.is_pausing = True
            self._ask_to_stop(self.folder.pause_flag)

    def finish(self) -> None:
        """Ask the engine to make a mesh from its current state; raises StorageError."""
        with storage_errors(self.folder.path):
            touch(self.folder.finish_flag)
        self.is_finishing = True

    def kill(self) -> None:
        """Kill the engine that works on this job, with all its children, if it is this person's and runs here."""
        if attendance.is_ours_to_end(self.folder):
            pid = (self.folder.status() or {})["pid"]
            if process.is_group_leader(pid):
                process.end_tree(pid)

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines of the job's log; empty if there is none."""
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
        except OSError:  # a network drive is away for a moment
            return False
        for event in new:
            self._take(event)
        return bool(new)

    def _take(self, event: events.Event) -> None:
        match event:
            case events.StateChanged(state=state) if state in events.FINAL_STATES:
                self._reported_state = state
                self._since_reported_end = Stopwatch(self._clock)
            case events.StateChanged(state=state) if state in events.STATES:
                self.state = self._reported_state = state
                self.failure = None
                self._since_reported_end = None
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
        """Whether an engine works on this job, as far as can be told."""
        if self._since_reported_end is not None and self.folder.status() is None:
            return False  # the engine removes the status when it has finished with a job
        self.elsewhere = attendance.machine_elsewhere(self.folder)
        return attendance.is_attended(self.folder, self._clock)

    def _lingers(self) -> bool:
        """Whether the engine still has the job's status long after it has reported the job's end."""
        return self._since_reported_end is not None and self._since_reported_end.look() > EXIT_GRACE_SECONDS

    def _ignores_request(self) -> bool:
        """Whether the engine has not stopped within the time it was given."""
        return self._since_request is not None and self._since_request.look() > self._patience

    def _end_engine(self) -> bool:
        """Kill the engine that does not stop, or add a notice why not; returns whether there is a new notice."""
        self._since_request = None
        if attendance.is_ours_to_end(self.folder):
            self.kill()
            return False
        where = self.elsewhere or "another machine"
        notice = f"The job's engine runs on {where}: it was asked to stop, and cannot be ended from this computer."
        if notice in self.notices:
            return False
        self.notices.append(notice)
        return True

    def _is_back(self) -> bool:
        """Whether a job that was given up turns out to be still running."""
        if not self._read_events() and not self._is_attended():
            return False
        self.is_given_up = False
        self.state, self.failure = self._reported_state, None
        return True

    def _conclude(self, exit_code: int | None) -> None:
        """Decide the final state, now that no engine works on the job: done, cancelled, paused or failed."""
        if self.folder.result() is not None:
            self.state = events.DONE
        elif self.failure is not None and not self.is_cancelling:
            self._fail(self.failure)
        elif self._reported_state in events.FINAL_STATES and not self.is_cancelling:
            self._stop(self._reported_state)
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
            sentence = "The engine ended without a result: resume the job to continue from its last checkpoint."
        elif exit_code < 0:
            name = _signal_name(-exit_code)
            memory = ", perhaps because memory ran out" if name == "SIGKILL" else ""
            sentence = f"The engine was killed ({name}){memory}: resume the job to continue from its last checkpoint."
        else:
            sentence = (
                f"The engine ended with exit code {exit_code} and no result{detail}: read its log, then resume the job."
            )
        return events.Failed(sentence, exit_code if exit_code is not None and exit_code > 0 else 1)

    def _report(self, event: events.Event) -> None:
        """Write what the person did into the folder, while no engine does; it is not read back by `poll`."""
        self.folder.append(event)
        self._offset = self.folder.events_file.stat().st_size
        self._take(event)

    def _try_to_report(self, *reported: events.Event) -> None:
        with suppress(OSError):  # the disk is full or gone: the state is right here, just not in the folder
            for event in reported:
                self._report(event)


def log_tail(file: Path, lines: int) -> str:
    """The last lines of a log; empty if there is none."""
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
