"""What this Blender has to do with jobs: those it watches, the one its panel shows, and the timer that looks for news.

The timer lives only while there is something to look for; each look reads a few bytes, and redraws only where something
is new.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import bpy

from . import arrivals, job_list, model_list, pictures, preferences
from .jobs import notify
from .jobs.engine import Engine
from .jobs.job import Job
from .jobs.library import Entry, Library
from .jobs.placement import Placement
from .jobs.runner import Runner
from .jobs.wording import duration
from .redrawing import redraw
from .sdi_engine import events
from .sdi_engine.errors import EngineError
from .sdi_engine.job_folder import JobFolder, storage_errors
from .sdi_engine.request import JobRequest

TICK_SECONDS = 0.25
IDLE_TICK_SECONDS = 2.0
"""While the engine is there, but has nothing to do."""

FIND_AGAIN_SECONDS = 1.0
ANNOUNCE_SECONDS = 20.0
BACKGROUND_IDLE_MINUTES = 1.0

log = logging.getLogger(__name__)

runner: Runner | None = None
library: Library | None = None
job: Job | None = None
"""The job that the panel shows: the one that the engine is at, or the last that was."""
look: Job | None = None
"""The latest 2D preview."""
complaint = ""
"""Why what the person wanted last was refused: one sentence."""

_announcement = ""
_announced_at = float("-inf")
_shown_step: tuple[str, int] | None = None
_last_seen: tuple[object, ...] = ()


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
    if runner is not None and bpy.app.background:
        try:
            runner.close()
        except EngineError as error:
            log.warning("The engine could not be told to leave: %s", error)
    arrivals.end()
    pictures.forget_all()
    runner, library, job, look, complaint, _announcement, _shown_step = None, None, None, None, "", "", None


def desk(context: bpy.types.Context) -> Runner:
    """Who looks after the jobs of the results folder that the preferences name."""
    global runner, library
    results = preferences.results_folder(context)
    if runner is None or runner.results != results:
        runner = Runner(results)
        library = Library(results)
    runner.idle_minutes = BACKGROUND_IDLE_MINUTES if bpy.app.background else preferences.of(context).idle_minutes
    return runner


def is_busy() -> bool:
    """Whether there is a job that is not over, or a result that waits for its moment."""
    return (runner is not None and runner.is_busy) or bool(arrivals.waits_for)


def start(context: bpy.types.Context, requests: Iterable[JobRequest], where: Iterable[Placement], live: bool) -> None:
    """Let jobs wait for their turn, and watch them; with `live`, show them as they grow.

    Raises:
        EngineError: a request is not valid, or a job's folder cannot be made.
    """
    global job
    for request, placement in zip(requests, where, strict=True):
        new_job = desk(context).create(request)
        arrivals.expect(context, new_job, placement)
        _set_live(new_job, live)
        desk(context).submit(new_job)
        if job is None or job.is_over:
            job = new_job
            _show_pictures(new_job)
    watch()
    refresh_library()


def start_look(context: bpy.types.Context, request: JobRequest) -> None:
    """Let the 2D model show what it makes of a prompt.

    Raises:
        EngineError: the request is not valid, or the folder cannot be made.
    """
    global look
    close_look(context)
    look = desk(context).sample(request)
    pictures.show_looks([])
    watch()


def close_look(context: bpy.types.Context) -> None:
    """Show no 2D preview any more, and stop it where it is under way; raises StorageError."""
    global look
    if look is not None and not look.is_over:
        desk(context).cancel(look)
    look = None
    redraw()


def resume(context: bpy.types.Context, stopped: Job) -> None:
    """Let a job that is over go on.

    Raises:
        EngineError: the job's folder cannot be written.
    """
    arrivals.expect_again(context, stopped)
    desk(context).resume(stopped)
    watch()
    refresh_library()


def cancel(context: bpy.types.Context, stopped: Job) -> None:
    """Stop a job, or take it from the queue; raises StorageError."""
    desk(context).cancel(stopped)
    if stopped.is_over:
        _hear(stopped)
        refresh_library()
    redraw()


def pause(context: bpy.types.Context, stopped: Job) -> None:
    """Stop a job for now, and free the engine's memory; raises StorageError."""
    desk(context).pause(stopped)
    redraw()


def move(context: bpy.types.Context, waiting: Job, by: int) -> None:
    """Let a waiting job have its turn earlier (−1) or later (1); raises StorageError."""
    with storage_errors(waiting.folder.path):
        desk(context).queue.move(waiting.name, by)
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


def delete(context: bpy.types.Context, name: str) -> None:
    """Remove a job from the disk, and from everywhere else; raises StorageError."""
    global job
    where = desk(context)
    assert library is not None
    if name in where.jobs:
        where.cancel(where.jobs[name])
        where.jobs.pop(name, None)
    with storage_errors(library.results):
        library.delete(name)
    arrivals.forget(name)
    pictures.forget_thumbnail(name)
    if job is not None and job.name == name:
        job = None
        pictures.forget_current()
    job_list.fill(library.entries)
    redraw()


def find(context: bpy.types.Context, name: str) -> Job | None:
    """The job of this name, watched or not; None where there is none, or its folder is damaged."""
    where = desk(context)
    if name in where.jobs:
        return where.jobs[name]
    if job is not None and job.name == name:
        return job
    try:
        found = Job(JobFolder(where.results / name))
    except EngineError:
        return None
    found.look(waits=any(ticket.name == name for ticket in where.queue.waiting()))
    return found


def entry(name: str) -> Entry | None:
    """What the library says of a job."""
    return library.find(name) if library is not None else None


def state_of(name: str) -> str:
    """One of `events.STATES`, as far as is known; empty where nothing is."""
    if runner is not None and name in runner.jobs:
        return runner.jobs[name].state
    if job is not None and job.name == name:
        return job.state
    known = entry(name)
    return known.state if known is not None else ""


def try_again() -> None:
    """Something was done for the engine: jobs that wait for one may find it now."""
    if runner is not None and runner.trouble:
        runner.try_again()
        watch()


def set_live(live: bool) -> None:
    """Show the jobs that are not over as they grow, or no more."""
    try:
        for each in runner.jobs.values() if runner is not None else ():
            _set_live(each, live)
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
    if runner is None or library is None:
        return None
    try:
        changed = runner.poll(_find_engine)
    except OSError as error:
        reason = error.strerror or error
        complain(f'The results folder "{runner.results}" cannot be read ({reason}): is its drive connected?')
        return IDLE_TICK_SECONDS
    for each in changed:
        _hear(each)
    came = arrivals.bring_in()
    if came or any(each.is_over for each in changed):
        library.refresh()
        model_list.refresh(bpy.context)
    if library.poll():
        _list_is_new(library.entries)
    if changed or came or _has_news():
        redraw()
    if runner.is_busy or library.is_looking or arrivals.waits_for:
        return TICK_SECONDS
    return IDLE_TICK_SECONDS if runner.engine is not None or announcement() else None


def _has_news() -> bool:
    """Whether the engine, or what there is to tell, is another than at the last look."""
    global _last_seen
    assert runner is not None
    engine = runner.engine or {}
    seen = (engine.get("pid"), engine.get("model"), runner.is_held, runner.trouble, announcement())
    changed, _last_seen = seen != _last_seen, seen
    return changed


def _find_engine() -> Engine:
    return preferences.engine(bpy.context)


def _set_live(each: Job, live: bool) -> None:
    with storage_errors(each.folder.path):
        if live:
            each.folder.live_flag.touch()
        else:
            each.folder.live_flag.unlink(missing_ok=True)


def _hear(changed: Job) -> None:
    global job
    assert runner is not None
    if changed is look:
        _hear_of_look(changed)
        return
    if changed is runner.current or job is None or (job.is_over and changed.state != events.CANCELLED):
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
        pictures.show_looks(changed.folder.path / image["file"] for image in (changed.folder.result() or {})["images"])


def _announce(ended: Job) -> None:
    global _announcement, _announced_at
    seconds = (ended.folder.result() or {}).get("seconds")
    took = f" ({duration(sum(v for k, v in seconds.items() if '_' not in k))})" if isinstance(seconds, dict) else ""
    prompt = ended.request.prompt
    sentence = {
        events.DONE: f"“{prompt}” is ready{took}",
        events.FAILED: f"“{prompt}” has failed",
    }.get(ended.state)
    if sentence is None:
        return
    _announcement, _announced_at = sentence, time.monotonic()
    if preferences.of(bpy.context).notify and not bpy.app.background:
        notify.notify(sentence)


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
        pictures.show_current(folder.path / shown.preview.file, sorted(folder.turntable_folder.glob("side-*.png")))
        _shown_step = state


def _list_is_new(entries: list[Entry]) -> None:
    """Show the list, and watch those that somebody else has begun, or a Blender which is no more."""
    global job
    assert runner is not None
    job_list.fill(entries)
    pictures.show_thumbnails({entry.name: entry.preview for entry in entries if entry.preview is not None})
    watched = [entry for entry in entries if entry.state not in events.FINAL_STATES and entry.name not in runner.jobs]
    for each in watched:
        found = find(bpy.context, each.name)
        if found is None:
            continue
        runner.watch([found])
        _adopt(each, found)
        if job is None and found.state != events.QUEUED:
            job = found
            _show_pictures(found)
    if job is not None and not arrivals.complaint:
        arrivals.hear(job)
    if job is None:
        left = next((entry for entry in entries if _wants_something(entry)), None)
        found = find(bpy.context, left.name) if left is not None else None
        if left is not None and found is not None:
            job = found
            _adopt(left, found)
            arrivals.hear(found)
            _show_pictures(found)
            watch()
    redraw()


def _wants_something(entry: Entry) -> bool:
    """Whether a Blender which is no more has left this job, and it is not settled what becomes of it."""
    if entry.placement is None or not entry.is_pending or entry.placement.is_owned_by_another:
        return False
    return entry.state in (events.DONE, events.FAILED, events.PAUSED)


def _adopt(entry: Entry, found: Job) -> None:
    if entry.placement is None or not entry.is_pending or entry.placement.is_owned_by_another:
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
