"""What this Blender has to do with jobs: those it watches, the one its panel shows, and the timer that looks for news.

The timer lives only while there is something to look for; each look reads a few bytes, and redraws only where something
is new.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import bpy

from ..jobs import inspection, notify
from ..jobs.engine import Engine
from ..jobs.guard import guarded
from ..jobs.job import Job
from ..jobs.library import Entry, Library, seconds_of
from ..jobs.placement import Placement
from ..jobs.runner import Runner
from ..jobs.words import duration
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import JobFolder, storage_errors, why_not_read
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.untrusted import printable
from . import adding, arrivals, job_list, model_list, pictures, preferences
from .redraw import redraw

TICK_SECONDS = 0.25
IDLE_TICK_SECONDS = 2.0
"""While the engine is there, but has nothing to do."""

FIND_AGAIN_SECONDS = 1.0
ADDING_TICK_SECONDS = 0.01
"""While many jobs are on their way into the queue, or into our eyes."""

ANNOUNCE_SECONDS = 20.0
BACKGROUND_IDLE_MINUTES = 1.0

log = logging.getLogger(__name__)

runner: Runner | None = None
"""Who looks after the results folder that the preferences name, as far as it was asked for."""
library: Library | None = None
job: Job | None = None
"""The job that the panel shows: the one that the engine is at, or the last that was."""
look: Job | None = None
"""The latest 2D preview."""
complaint = ""
"""Why what the person wanted last was refused: one sentence."""

_asked: dict[str, Job] = {}
"""By what was asked for, as text, the jobs that this Blender has let wait."""
_former: list[Runner] = []
"""Of results folders that the preferences no longer name, as long as a job there is not over."""
_withdrawn: deque[Job] = deque()
"""Jobs that wait no longer, whose folders do not say yet that they are cancelled."""
_polled_at = float("-inf")
_unwatched: deque[Entry] = deque()
"""Jobs that are not over and were begun by somebody else, or by a Blender which is no more."""
_announcement = ""
_announced_at = float("-inf")
_shown_step: tuple[str, int] | None = None
_last_seen: tuple[object, ...] = ()
_missed = ""


def begin() -> None:
    """Called when the extension is enabled."""
    arrivals.begin()
    bpy.app.handlers.load_post.append(_list_was_lost)
    if not bpy.app.background:
        bpy.app.timers.register(_find_again, first_interval=FIND_AGAIN_SECONDS, persistent=True)


def end() -> None:
    """Called when the extension is disabled: the engine goes on, Blender forgets it."""
    global runner, library, job, look, complaint, _announcement, _shown_step
    for timer in (_find_again, tick):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    if _list_was_lost in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_list_was_lost)
    for each in desks() if bpy.app.background else ():
        try:
            each.close()
        except EngineError as error:
            log.warning("The engine could not be told to leave: %s", error)
    adding.drop()
    arrivals.end()
    pictures.forget_all()
    while _withdrawn:
        _withdrawn.popleft().withdraw()
    for memory in (_asked, _former, _unwatched):
        memory.clear()
    runner, library, job, look, complaint, _announcement, _shown_step = None, None, None, None, "", "", None


def desk(context: bpy.types.Context) -> Runner:
    """Who looks after the jobs of the results folder that the preferences name."""
    global runner, library
    results = preferences.results_folder(context)
    if runner is None or runner.results != results:
        if runner is not None and runner.is_busy:
            _former.append(runner)
        runner = next((each for each in _former if each.results == results), None) or Runner(results)
        _former[:] = [each for each in _former if each is not runner]
        library = Library(results)
        _unwatched.clear()
        job_list.fill([])
    runner.idle_minutes = BACKGROUND_IDLE_MINUTES if bpy.app.background else preferences.of(context).idle_minutes
    return runner


def desks() -> list[Runner]:
    """Who looks after jobs: those of the results folder, and those still under way in others that were it before."""
    return ([runner] if runner is not None else []) + _former


def results_were_changed(context: bpy.types.Context) -> None:
    """The preferences name another results folder: show its jobs, and go on watching those of the former one."""
    if not bpy.app.background:
        desk(context)
        refresh_library()


def is_busy() -> bool:
    """Whether there is a job that is not over, or a result that waits for its moment."""
    is_watching = any(each.is_busy for each in desks())
    return is_watching or adding.is_under_way() or bool(_withdrawn) or bool(arrivals.waits_for)


def current() -> Job | None:
    """The job that an engine is at; None where none of ours is at any."""
    return next((each.current for each in desks() if each.current is not None), None)


def is_elsewhere(shown: Job) -> bool:
    """Whether a job's folder is not in the results folder that the preferences name."""
    return runner is not None and shown.folder.path.parent not in (runner.results, runner.queue.looks_folder)


def engine_of(shown: Job) -> dict[str, Any] | None:
    """What the engine says of itself that serves the job's results folder; None where none does."""
    watching = next((each for each in desks() if each.jobs.get(shown.name) is shown), runner)
    return watching.engine if watching is not None else None


def start(context: bpy.types.Context, requests: Iterable[JobRequest], where: Iterable[Placement], live: bool) -> None:
    """Let jobs wait for their turn, and watch them; with `live`, show them as they grow.

    Raises:
        EngineError: a request is not valid, or a job's folder cannot be made.
    """
    desk(context).use(preferences.engine(context))
    adding.ask(desk(context), requests, where, live)
    _add_some(context)
    watch()
    if not adding.is_left():
        refresh_library()


def add_the_rest(context: bpy.types.Context) -> None:
    """Try again to let those jobs wait which the disk refused."""
    if adding.is_left():
        _add_some(context)
        watch()


def drop_the_rest() -> None:
    """Leave out those jobs that do not wait in the queue yet."""
    adding.drop()
    refresh_library()
    redraw()


def _add_some(context: bpy.types.Context) -> None:
    for added in adding.go_on(context):
        _show_new(added)


def is_made(request: JobRequest) -> bool:
    """Whether this Blender has asked for the very same already, and has got it, or is about to."""
    same = _asked.get(repr(request))
    return same is not None and (state_of(same.name) or same.state) not in (events.CANCELLED, events.FAILED)


def _show_new(added: Job) -> None:
    global job
    _asked[repr(added.request)] = added
    if job is None or job.is_over:
        job = added
        _show_pictures(added)


def start_look(context: bpy.types.Context, request: JobRequest) -> None:
    """Let the 2D model show what it makes of a prompt.

    Raises:
        EngineError: the request is not valid, or the folder cannot be made.
    """
    global look
    close_look(context)
    desk(context).use(preferences.engine(context))
    look = desk(context).sample(request)
    pictures.show_looks([])
    watch()


def close_look(context: bpy.types.Context) -> None:
    """Show no 2D preview any more, and stop it where it is under way; raises StorageError."""
    global look
    if look is not None and not look.is_over:
        _desk_of(context, look).cancel(look)
    look = None
    redraw()


def resume(context: bpy.types.Context, stopped: Job) -> None:
    """Let a job that is over go on.

    Raises:
        EngineError: the job's folder cannot be written, or has links in it.
    """
    stopped.folder.refuse_links()
    _desk_of(context, stopped).use(preferences.engine(context))
    arrivals.expect_again(context, stopped)
    _desk_of(context, stopped).resume(stopped)
    watch()
    refresh_library()


def run_here(context: bpy.types.Context, waiting: Job) -> None:
    """Let a job have its turn on this machine that waits from elsewhere.

    Raises:
        EngineError: the job's folder cannot be written, or has links in it.
    """
    waiting.folder.refuse_links()
    desk(context).use(preferences.engine(context))
    arrivals.expect_again(context, waiting)
    desk(context).run_here(waiting)
    watch()
    refresh_library()


def waits_from(name: str) -> str | None:
    """The machine from which a job waits that no engine of ours takes unasked, empty where unknown; else None."""
    ticket = runner.ticket_from_elsewhere(name) if runner is not None else None
    return ticket.host if ticket is not None else None


def cancel(context: bpy.types.Context, stopped: Job) -> None:
    """Stop a job, or take it from the queue; raises StorageError."""
    _desk_of(context, stopped).cancel(stopped)
    if stopped.is_over:
        _hear(stopped)
        refresh_library()
    redraw()


def cancel_waiting() -> None:
    """Take all jobs from the queue that no engine is at; raises StorageError."""
    adding.drop()
    for each in desks():
        _withdrawn.extend(each.cancel_waiting())
    _withdraw_some()
    watch()
    redraw()


def _withdraw_some() -> None:
    """Note that jobs are cancelled, as many as can be in a moment."""
    until = time.monotonic() + adding.SECONDS_AT_ONCE
    while _withdrawn:
        withdrawn = _withdrawn.popleft()
        withdrawn.withdraw()
        _hear(withdrawn)
        if time.monotonic() > until:
            break
    if not _withdrawn:
        refresh_library()


def pause(context: bpy.types.Context, stopped: Job) -> None:
    """Stop a job for now, and free the engine's memory; raises StorageError."""
    _desk_of(context, stopped).pause(stopped)
    redraw()


def move(context: bpy.types.Context, waiting: Job, by: int) -> None:
    """Let a waiting job have its turn earlier (−1) or later (1); raises StorageError."""
    with storage_errors(waiting.folder.path):
        _desk_of(context, waiting).queue.move(waiting.name, by)
    watch()


def dismiss() -> None:
    """Show no job any more; its folder stays, and it is not offered again."""
    global job, complaint
    if job is not None:
        arrivals.dismiss(job.name, job.folder)
    job, complaint = None, ""
    pictures.forget_current()
    refresh_library()
    redraw()


def delete(context: bpy.types.Context, doomed: Job) -> None:
    """Remove a job from the disk, and from everywhere else; raises StorageError."""
    global job
    where = _desk_of(context, doomed)
    assert library is not None
    if doomed.name in where.jobs:
        where.cancel(where.jobs[doomed.name])
        where.jobs.pop(doomed.name, None)
    _asked.pop(repr(doomed.request), None)
    if job is not None and job.name == doomed.name:
        job = None
        pictures.forget_current()
    _delete_folder(where.results, doomed.name)


def delete_damaged(context: bpy.types.Context, name: str) -> None:
    """Remove a folder of the list that no job can be read from; raises StorageError."""
    _delete_folder(desk(context).results, name)


def _delete_folder(results: Path, name: str) -> None:
    assert library is not None
    shelf = library if library.results == results else Library(results)
    with storage_errors(results):
        shelf.delete(name)
    arrivals.forget(name)
    pictures.forget_thumbnail(name)
    job_list.fill(library.entries)
    redraw()


def go_on() -> None:
    """Let engines take jobs again that were held, or could not be started; raises StorageError."""
    for each in desks():
        if each.is_held or each.trouble:
            each.go_on()
    watch()


def find(context: bpy.types.Context, name: str) -> Job | None:
    """The job of this name, watched or not; None where there is none, or its folder is damaged."""
    where = desk(context)
    for each in desks():
        if name in each.jobs:
            return each.jobs[name]
    if job is not None and job.name == name:
        return job
    return _found(where, name, {ticket.name for ticket in where.queue.waiting()})


def _found(where: Runner, name: str, waiting: Container[str]) -> Job | None:
    try:
        found = Job(JobFolder(where.results / name))
    except EngineError:
        return None
    found.look(waits=name in waiting)
    return found


def _desk_of(context: bpy.types.Context, wanted: Job) -> Runner:
    """Who looks after the job's results folder, be it another than the one that the preferences name."""
    desk(context)
    results = wanted.folder.path.parent
    for each in desks():
        if each.jobs.get(wanted.name) is wanted or each.results == results:
            return each
    former = Runner(results)
    _former.append(former)
    return former


def entry(name: str) -> Entry | None:
    """What the library says of a job."""
    return library.find(name) if library is not None else None


def state_of(name: str) -> str:
    """One of `events.STATES`, as far as is known; empty where nothing is."""
    for each in desks():
        if name in each.jobs:
            return each.jobs[name].state
    if job is not None and job.name == name:
        return job.state
    known = entry(name)
    return known.state if known is not None else ""


def try_again() -> None:
    """Something was done for the engine: jobs that wait for one may find it now."""
    for each in desks():
        if each.trouble:
            each.try_again()
            watch()


def set_live(live: bool) -> None:
    """Show the jobs that are not over as they grow, or no more."""
    try:
        for each in desks():
            for watched in each.jobs.values():
                if arrivals.wants(watched.name):
                    adding.set_live(watched, live)
    except EngineError as error:  # asked for by a property, which cannot report
        complain(str(error))


def complain(sentence: str) -> None:
    """Let the panel show why something was refused."""
    global complaint
    complaint = sentence
    redraw()


def announcement() -> str:
    """What there is to tell of a job that has just ended; empty where nothing, or it was told long enough."""
    return _announcement if time.monotonic() - _announced_at < ANNOUNCE_SECONDS else ""


def refresh_library() -> None:
    """Read the list of jobs again."""
    if library is not None:
        library.refresh()
        watch()


def watch() -> None:
    """Let the timer look soon."""
    if bpy.app.background:
        return
    if bpy.app.timers.is_registered(tick):  # but perhaps not before long
        bpy.app.timers.unregister(tick)
    bpy.app.timers.register(tick, first_interval=0.0, persistent=True)
    redraw()


def tick() -> float | None:
    """Look once; seconds until the next look, None where there is nothing more to look for."""
    with guarded("The look for news of jobs"):  # or Blender would never look again
        return _look()
    return IDLE_TICK_SECONDS


def _look() -> float | None:
    if runner is None or library is None:
        return None
    global _polled_at
    if adding.is_under_way():
        _try_to_add_some()
    if _withdrawn:
        _withdraw_some()
    is_in_a_hurry = adding.is_under_way() or bool(_withdrawn)
    if is_in_a_hurry and time.monotonic() < _polled_at + TICK_SECONDS:  # a look at thousands of jobs takes a while
        return ADDING_TICK_SECONDS
    _polled_at = time.monotonic()
    polled = [_poll(where) for where in desks()]
    changed = [each for news in polled for each in news or ()]
    for each in changed:
        with guarded(f'News of the job "{each.name}"'):
            _hear(each)
    _former[:] = [each for each in _former if each.is_busy]
    came = arrivals.bring_in()
    if came or any(each.is_over for each in changed):
        library.refresh()
        model_list.refresh(bpy.context)
    if library.poll():
        _list_is_new(library.entries)
    elif _unwatched:
        _watch_some()
    if changed or came or _has_news():
        redraw()
    if None in polled:
        return IDLE_TICK_SECONDS
    if adding.is_under_way() or _unwatched or _withdrawn:
        return ADDING_TICK_SECONDS
    if is_busy() or library.is_looking:
        return TICK_SECONDS
    return IDLE_TICK_SECONDS if runner.engine is not None or runner.given_up or announcement() else None


def _poll(where: Runner) -> list[Job] | None:
    """The jobs of which there is news; None where the folder cannot be read."""
    global _missed
    try:
        news = where.poll(_find_engine)
    except OSError as error:
        _missed = why_not_read(where.results, error)
        complain(_missed)
        return None
    if complaint and complaint == _missed:
        complain("")
    return news


def _try_to_add_some() -> None:
    assert library is not None
    try:
        _add_some(bpy.context)
    except EngineError as error:  # nobody to whom it could be reported
        complain(str(error))
    if not adding.is_under_way():
        library.refresh()
    redraw()


def _has_news() -> bool:
    """Whether an engine, or what there is to tell, is another than at the last look."""
    global _last_seen
    seen: list[object] = [announcement()]
    for each in desks():
        engine = each.engine or {}
        seen += [engine.get("pid"), engine.get("model"), each.is_held, each.trouble]
    changed, _last_seen = tuple(seen) != _last_seen, tuple(seen)
    return changed


def _find_engine() -> Engine:
    return preferences.engine(bpy.context)


def _hear(changed: Job) -> None:
    global job
    if changed is look:
        _hear_of_look(changed)
        return
    if changed is current() or job is None or (job.is_over and changed.state != events.CANCELLED):
        job = changed
    if changed is job:
        _show_pictures(changed)
    arrivals.hear(changed)
    if changed.is_over:
        pictures.forget_thumbnail(changed.name)
        log.info('The job "%s" is %s', changed.request.prompt, changed.state)
        _announce(changed)


def _hear_of_look(changed: Job) -> None:
    if changed.state == events.DONE:
        pictures.show_looks(inspection.looks_in(changed.folder.path, changed.folder.result()))


def _announce(ended: Job) -> None:
    global _announcement, _announced_at
    seconds = seconds_of(ended.folder.result())
    took = f" ({duration(seconds)})" if seconds is not None else ""
    prompt = ended.request.prompt
    sentence = {
        events.DONE: f"“{prompt}” is ready{took}",
        events.FAILED: f"“{prompt}” has failed",
    }.get(ended.state)
    if sentence is None:
        return
    _announcement, _announced_at = sentence, time.monotonic()
    if preferences.of(bpy.context).notify and not bpy.app.background:
        notify.notify(printable(sentence))


def _show_pictures(shown: Job) -> None:
    global _shown_step
    if shown.preview is None:
        if _shown_step is not None and _shown_step[0] != shown.name:
            pictures.forget_current()
            _shown_step = None
        return
    state = (shown.name, shown.preview.step)
    if state != _shown_step:
        folder = shown.folder
        pictures.show_current(folder.path / shown.preview.file, inspection.sides_in(folder.turntable_folder))
        _shown_step = state


def _list_is_new(entries: list[Entry]) -> None:
    """Show the list, and watch those that somebody else has begun, or a Blender which is no more."""
    assert runner is not None
    job_list.fill(entries)
    pictures.show_thumbnails({entry.name: entry.preview for entry in entries if entry.preview is not None})
    _unwatched.clear()
    from_elsewhere = {ticket.name for ticket in runner.waiting if not ticket.is_ours}
    known = {*runner.jobs, *adding.names(), *(each.name for each in _withdrawn), *from_elsewhere}
    _unwatched.extend(each for each in entries if each.state not in events.FINAL_STATES and each.name not in known)
    _watch_some()
    if job is not None and not arrivals.complaint:
        arrivals.hear(job)
    if job is None and not _unwatched:
        _show_what_was_left(entries)
    redraw()


def _watch_some() -> None:
    """Watch those that somebody else has begun, as many as can be looked at in a moment."""
    assert runner is not None
    if not _unwatched:
        return
    until = time.monotonic() + adding.SECONDS_AT_ONCE
    try:
        waiting = {ticket.name for ticket in runner.queue.waiting()}
    except OSError:  # its drive is away, as the next poll will say
        return
    while _unwatched:
        each = _unwatched.popleft()
        with guarded(f'The job "{each.name}"'):
            _watch_one(each, waiting)
        if time.monotonic() > until:
            break


def _watch_one(each: Entry, waiting: Container[str]) -> None:
    global job
    assert runner is not None
    found = _found(runner, each.name, waiting) if each.name not in runner.jobs else None
    if found is not None:
        runner.watch([found])
        _adopt(each, found)
        if job is None and found.state != events.QUEUED:
            job = found
            _show_pictures(found)


def _show_what_was_left(entries: list[Entry]) -> None:
    """The newest job of which it is not settled what becomes of it."""
    global job
    assert runner is not None
    left = next((entry for entry in entries if _wants_something(entry)), None)
    found = find(bpy.context, left.name) if left is not None else None
    if left is not None and found is not None:
        job = found
        _adopt(left, found)
        arrivals.hear(found)
        _show_pictures(found)
        watch()


def _wants_something(entry: Entry) -> bool:
    """Whether a Blender which is no more has left this job, and it is not settled what becomes of it."""
    if not entry.is_orphan:
        return False
    return entry.state in (events.DONE, events.FAILED, events.PAUSED)


def _adopt(entry: Entry, found: Job) -> None:
    if not entry.is_orphan:
        return
    try:
        arrivals.expect_again(bpy.context, found)
    except EngineError as error:  # the folder can be read only: offer nothing that would fail
        log.warning("The job in %s was found, but cannot be written: %s", found.folder.path, error)


def _find_again() -> None:
    """Look for what a Blender which is no more has left behind."""
    desk(bpy.context)
    refresh_library()


@bpy.app.handlers.persistent
def _list_was_lost(_file: str, *_: object) -> None:
    """Another file brings another window manager, in which there is no list."""
    refresh_library()
