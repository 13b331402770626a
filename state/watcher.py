"""Polls the jobs, and passes changes on to the panel and the scene.

Its timer runs only while there is something to poll; each poll reads a few bytes, and redraws only if something has
changed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Container, Iterable

import bpy

from ..jobs.engine import Engine
from ..jobs.guard import Guard
from ..jobs.job import Job
from ..jobs.library import Entry
from ..jobs.placement import PENDING
from ..jobs.runner import Runner
from ..scene import destination, markers
from ..scene.open_file import OpenFile
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import why_not_read
from ..sdi_engine.errors import EngineError
from . import job_list, preferences, submissions
from .arrivals import Arrivals
from .desks import Desks, read_job
from .display import Display
from .model_list import ModelList
from .redraw import redraw
from .submissions import Submissions
from .timer import Timer

TICK_SECONDS = 0.25
IDLE_TICK_SECONDS = 2.0
"""While the engine runs but has nothing to do."""

CATCH_UP_TICK_SECONDS = 0.01
"""While many jobs are being queued, or watched for the first time."""

FIND_AGAIN_SECONDS = 1.0

log = logging.getLogger(__name__)


class Watcher:
    """Polls all watched jobs by a timer, and updates display and scene."""

    def __init__(
        self, desks: Desks, display: Display, arrivals: Arrivals, wanted: Submissions, models: ModelList
    ) -> None:
        self._desks = desks
        self._display = display
        self._arrivals = arrivals
        self._submissions = wanted
        self._models = models
        self._withdrawn: deque[Job] = deque()
        """Jobs that were removed from the queue, but not marked as cancelled in their folders yet."""
        self._polled_at = float("-inf")
        self._last_seen: tuple[object, ...] = ()
        self._unreadable = ""
        """The complaint about a results folder that could not be read at the last poll."""
        self._guarded = Guard()
        self._timer = Timer(self.tick)
        self._finder = Timer(self.find_again)

    def begin(self) -> None:
        """Called when the extension is enabled."""
        if not bpy.app.background:
            self._finder.start(FIND_AGAIN_SECONDS)

    def end(self) -> None:
        """Called when the extension is disabled: the engine keeps running, but is no longer watched."""
        self._finder.stop()
        self._timer.stop()
        while self._withdrawn:
            self._withdrawn.popleft().withdraw()

    def poll_soon(self) -> None:
        """Let the timer poll as soon as possible."""
        if bpy.app.background:
            return
        self._timer.stop()  # it may be running, but not due for seconds
        self._timer.start(0.0)
        redraw()

    def refresh_library(self) -> None:
        """Read the list of jobs again."""
        if self._desks.library is not None:
            self._desks.library.refresh()
            self.poll_soon()

    def find_again(self) -> None:
        """Find the jobs that an earlier Blender has left behind."""
        self._desks.desk(bpy.context)
        self.refresh_library()

    def is_busy(self) -> bool:
        """Whether there is an unfinished job, or a result that waits to be imported."""
        is_watching = self._desks.is_busy()
        return is_watching or self._submissions.is_under_way or bool(self._withdrawn) or self._arrivals.has_some

    def tick(self) -> float | None:
        """Poll once; returns seconds until the next poll, None if there is nothing left to poll."""
        with self._guarded("Polling the jobs"):  # or an error would end the timer for good
            return self._poll_all()
        return IDLE_TICK_SECONDS

    def hear(self, changed: Job) -> None:
        """Update display and scene after a job has changed."""
        if changed is self._display.preview_2d:
            self._display.hear_of_preview_2d()
            return
        self._display.hear(changed, is_current=changed is self._desks.current())
        self._arrivals.hear(changed)
        if changed.is_over:
            log.info('The job "%s" is %s', changed.request.prompt, changed.state)

    def add_some(self, context: bpy.types.Context) -> None:
        """Put some of the submitted jobs into the queue; raises EngineError from `Submissions.go_on`."""
        for added in self._submissions.go_on(context):
            self._display.show_if_idle(added)

    def withdraw(self, jobs: Iterable[Job]) -> None:
        """Mark jobs that were removed from the queue as cancelled."""
        self._withdrawn.extend(jobs)
        self._withdraw_some()

    def _withdraw_some(self) -> None:
        """Mark as many as fit into `SECONDS_AT_ONCE`."""
        until = time.monotonic() + submissions.SECONDS_AT_ONCE
        while self._withdrawn:
            withdrawn = self._withdrawn.popleft()
            withdrawn.withdraw()
            self.hear(withdrawn)
            if time.monotonic() > until:
                break
        if not self._withdrawn:
            self.refresh_library()

    def _poll_all(self) -> float | None:
        if self._desks.runner is None or self._desks.library is None:
            return None
        if self._submissions.is_under_way:
            self._try_to_add_some()
        if self._withdrawn:
            self._withdraw_some()
        is_in_a_hurry = self._submissions.is_under_way or bool(self._withdrawn)
        if is_in_a_hurry and time.monotonic() < self._polled_at + TICK_SECONDS:
            return CATCH_UP_TICK_SECONDS  # polling thousands of jobs takes a while
        self._polled_at = time.monotonic()
        polled = [self._poll(desk) for desk in self._desks.all()]
        changed = [each for news in polled for each in news or ()]
        for each in changed:
            with self._guarded(f'Updating the job "{each.name}"'):
                self.hear(each)
        self._desks.forget_idle()
        came = self._arrivals.bring_in()
        if came or any(each.is_over for each in changed):
            self._desks.library.refresh()
            self._models.refresh(bpy.context)
        if self._desks.library.poll():
            self._list_is_new(self._desks.library.entries)
        elif self._desks.unwatched:
            self._watch_some()
        if changed or came or self._has_news():
            redraw()
        return self._seconds_until_next_poll(is_readable=None not in polled)

    def _seconds_until_next_poll(self, *, is_readable: bool) -> float | None:
        assert self._desks.runner is not None
        assert self._desks.library is not None
        if not is_readable:
            return IDLE_TICK_SECONDS
        has_unwatched = bool(self._desks.unwatched)
        can_watch = has_unwatched and not destination.is_in_use()
        if self._submissions.is_under_way or can_watch or self._withdrawn:
            return CATCH_UP_TICK_SECONDS
        if self.is_busy() or has_unwatched or self._desks.library.is_refreshing:
            return TICK_SECONDS
        runner = self._desks.runner
        waits = runner.engine is not None or runner.given_up or self._display.announcement.sentence
        return IDLE_TICK_SECONDS if waits else None

    def _poll(self, desk: Runner) -> list[Job] | None:
        """The jobs that have changed; None if the folder cannot be read."""
        try:
            news = desk.poll(_find_engine)
        except OSError as error:
            self._unreadable = why_not_read(desk.results, error)
            self._display.complain(self._unreadable)
            return None
        if self._display.complaint and self._display.complaint == self._unreadable:
            self._display.complain("")
        return news

    def _try_to_add_some(self) -> None:
        assert self._desks.library is not None
        try:
            self.add_some(bpy.context)
        except EngineError as error:  # a timer cannot report it in another way
            self._display.complain(str(error))
        if not self._submissions.is_under_way:
            self._desks.library.refresh()
        redraw()

    def _has_news(self) -> bool:
        """Whether an engine or the announcement has changed since the last poll."""
        seen: list[object] = [self._display.announcement.sentence]
        for each in self._desks.all():
            engine = each.engine or {}
            seen += [engine.get("pid"), engine.get("model"), each.is_held, each.trouble, each.waits_for_another_engine]
        changed, self._last_seen = tuple(seen) != self._last_seen, tuple(seen)
        return changed

    def _list_is_new(self, entries: list[Entry]) -> None:
        """Show the list, and watch unfinished jobs that another person, or an earlier Blender, started."""
        assert self._desks.runner is not None
        runner, unwatched = self._desks.runner, self._desks.unwatched
        job_list.fill(entries)
        thumbnails = {entry.name: entry.preview for entry in entries if entry.preview is not None}
        self._display.pictures.show_thumbnails(thumbnails)
        unwatched.clear()
        from_elsewhere = {ticket.name for ticket in runner.waiting if not ticket.is_ours}
        withdrawn = {each.name for each in self._withdrawn}
        known = {*runner.jobs, *self._submissions.names(), *withdrawn, *from_elsewhere}
        unwatched.extend(each for each in entries if each.state not in events.FINAL_STATES and each.name not in known)
        unwatched.extend(self._left(entries))
        self._watch_some()
        if self._display.job is not None and not self._arrivals.complaint:
            self._arrivals.hear(self._display.job)
        if self._display.job is None and not unwatched:
            self._show_what_was_left(entries)
        redraw()

    def _left(self, entries: list[Entry]) -> list[Entry]:
        """Jobs that ended since the open file was saved. What shows a job that is gone is removed."""
        assert self._desks.library is not None
        file, library = OpenFile(), self._desks.library
        if library.was_read and not destination.is_in_use():
            gone = file.shown.keys() - {entry.name for entry in entries}
            for name in gone:
                if file.shown[name] == str(library.results) and self._arrivals.placement_of(name) is None:
                    markers.remove(name)
            self._arrivals.remove_stale()
        return [each for each in entries if self._arrivals.is_left(file, each) and not self._desks.watched(each.name)]

    def _watch_some(self) -> None:
        """Watch as many of the unwatched jobs as fit into `SECONDS_AT_ONCE`; none while the scene is in use, since what
        shows them comes and goes with it."""
        assert self._desks.runner is not None
        unwatched = self._desks.unwatched
        if not unwatched or destination.is_in_use():
            return
        until = time.monotonic() + submissions.SECONDS_AT_ONCE
        file = OpenFile()
        try:
            waiting = {ticket.name for ticket in self._desks.runner.queue.waiting()}
        except OSError:  # its drive is away; the next poll reports that
            return
        while unwatched:
            each = unwatched.popleft()
            with self._guarded(f'The job "{each.name}"'):
                self._watch_one(self._desks.runner, each, waiting, file)
            if time.monotonic() > until:
                break

    def _watch_one(self, runner: Runner, entry: Entry, waiting: Container[str], file: OpenFile) -> None:
        found = read_job(runner, entry.name, waiting) if entry.name not in runner.jobs else None
        if found is not None:
            if entry.state in events.FINAL_STATES:
                self._take_up(found, file)
            else:
                runner.watch([found])
                self._adopt(entry, found, file)
            if self._display.job is None and found.state != events.QUEUED:
                self._display.show(found)

    def _show_what_was_left(self, entries: list[Entry]) -> None:
        """Show the newest job that an earlier Blender left, if its result was neither imported nor dismissed."""
        left = next((entry for entry in entries if _is_unsettled(entry) and not self._is_settled(entry)), None)
        if left is None:
            return
        found = self._desks.watched(left.name) or self._desks.read(bpy.context, left.name)
        if found is not None:
            self._display.job = found
            self._adopt(left, found, OpenFile())
            self._arrivals.hear(found)
            self._display.show(found)
            self.poll_soon()

    def _is_settled(self, entry: Entry) -> bool:
        """Whether the job was imported or dismissed here, perhaps since the list was read."""
        where = self._arrivals.placement_of(entry.name)
        return where is not None and where.fate != PENDING

    def _take_up(self, left: Job, file: OpenFile) -> None:
        try:
            self._arrivals.take_up(bpy.context, left, file)
        except EngineError as error:
            log.warning("The job in %s was found, but cannot be written: %s", left.folder.path, error)

    def _adopt(self, entry: Entry, found: Job, file: OpenFile) -> None:
        if not entry.is_orphan:
            return
        try:
            self._arrivals.expect_again(bpy.context, found, file)
        except EngineError as error:  # the folder is read-only: importing would fail too
            log.warning("The job in %s was found, but cannot be written: %s", found.folder.path, error)


def _find_engine() -> Engine:
    return preferences.engine(bpy.context)


def _is_unsettled(entry: Entry) -> bool:
    """Whether an earlier Blender left this job, and it is finished, failed or paused but not dealt with."""
    return entry.is_orphan and entry.state in (events.DONE, events.FAILED, events.PAUSED)
