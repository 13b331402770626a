"""The job that this Blender's panel shows, and the timer that watches it.

One timer, alive only while a job runs or a result waits for its moment; it reads a few bytes from the job folder and
redraws sidebars only where something is new.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews

from . import preferences
from .jobs.doctor import Examination
from .jobs.engine import Engine
from .jobs.finding import last_job
from .jobs.job import Job
from .jobs.placement import DISMISSED, IMPORTED, PENDING, Placement
from .scene import moment
from .scene.importer import ImportFailedError, put_into_scene
from .sdi_engine import events
from .sdi_engine.job_folder import storage_errors
from .sdi_engine.request import JobRequest

TICK_SECONDS = 0.25
FIND_AGAIN_SECONDS = 1.0

log = logging.getLogger(__name__)

job: Job | None = None
placement = Placement()
complaint = ""
"""Why the last Generate, or the last import, was refused: one sentence."""
waits_for = ""
"""What the person is to do before the finished result can come into the scene; empty where nothing."""
examination: Examination | None = None

_icons: Any = None
_icon_step = -1
_file_is_open = True
"""Whether the file in which Generate was pressed is the one that is open."""


def begin() -> None:
    """Called when the extension is enabled."""
    if not bpy.app.background:
        bpy.app.timers.register(_find_again, first_interval=FIND_AGAIN_SECONDS, persistent=True)


def end() -> None:
    """Called when the extension is disabled: the worker goes on, Blender forgets it."""
    global job, complaint, waits_for, examination
    for timer in (_find_again, tick, _tick_examination):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    if _another_file_was_opened in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_another_file_was_opened)
    if examination is not None:
        examination.stop()
    job, complaint, waits_for, examination = None, "", "", None
    _forget_preview()


def is_running() -> bool:
    """Whether there is a job that is not over, or a result that waits for its moment."""
    return job is not None and (not job.is_over or bool(waits_for))


def start(request: JobRequest, results: Path, engine: Engine, where: Placement) -> None:
    """Start a job and watch it.

    Raises:
        EngineError: the job's folder cannot be made.
    """
    new_job = Job.create(results, request)
    with storage_errors(new_job.folder.path):
        where.write(new_job.folder)
    new_job.start(engine)
    _show(new_job, where)


def resume(engine: Engine) -> None:
    """Start the shown job's worker again.

    Raises:
        EngineError: the job's folder cannot be written.
    """
    assert job is not None
    where = placement.owned()
    with storage_errors(job.folder.path):
        where.write(job.folder)
    job.resume(engine)
    _show(job, where)


def cancel() -> None:
    """Stop the shown job.

    Raises:
        EngineError: the job's folder cannot be written.
    """
    assert job is not None
    job.cancel()
    redraw()


def dismiss() -> None:
    """Show no job any more; its folder stays, and it is not offered again."""
    global job, complaint, waits_for
    if job is not None:
        _remember_fate(DISMISSED)
    job, complaint, waits_for = None, "", ""
    _forget_preview()
    redraw()


def complain(sentence: str) -> None:
    """Let the panel show why something was refused."""
    global complaint
    complaint = sentence
    redraw()


def import_now(context: bpy.types.Context) -> bpy.types.Object | None:
    """Put the shown job's result into its scene, as one undo step; None where that failed, and `complaint` says why."""
    global waits_for
    assert job is not None
    waits_for = ""
    try:
        placed = put_into_scene(context, job.folder, placement)
    except ImportFailedError as error:
        complain(str(error))
        return None
    bpy.ops.ed.undo_push(message=placed.name)
    _remember_fate(IMPORTED)
    complain("")
    return placed


def examine(engine: Engine) -> Examination:
    """Ask the engine what is installed; the answer comes into `examination`."""
    global examination
    if examination is not None:
        examination.stop()
    examination = Examination(engine)
    if not bpy.app.timers.is_registered(_tick_examination):
        bpy.app.timers.register(_tick_examination, first_interval=TICK_SECONDS, persistent=True)
    return examination


def preview_icon() -> int:
    """The icon of the job's latest picture; 0 where there is none."""
    return _icons["preview"].icon_id if _icons is not None and "preview" in _icons else 0


def redraw() -> None:
    """Draw the sidebars and the preferences again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "PREFERENCES"}:
                for region in area.regions:
                    if region.type in {"UI", "WINDOW"} and (area.type == "PREFERENCES" or region.type == "UI"):
                        region.tag_redraw()


def tick() -> float | None:
    """Look once; seconds until the next look, None where there is nothing more to look for."""
    if job is None:
        return None
    if not job.is_over:
        if job.poll():
            _load_preview()
            redraw()
        if not job.is_over:
            return TICK_SECONDS
        log.info('The job "%s" is %s', job.request.prompt, job.state)
    return _import_when_ready() if wants_import() and _file_is_open and not complaint else None


def wants_import() -> bool:
    """Whether the shown job has a result that is in no scene yet."""
    return job is not None and job.state == events.DONE and placement.fate == PENDING


def _import_when_ready() -> float | None:
    global waits_for
    reason = moment.reason_to_wait(bpy.context, placement)
    if reason != waits_for:
        waits_for = reason
        redraw()
    if reason:
        return TICK_SECONDS
    import_now(bpy.context)
    return None


def _show(new_job: Job, where: Placement, file_is_open: bool = True) -> None:
    global job, placement, complaint, waits_for, _file_is_open
    if new_job is not job:
        _forget_preview()
    job, placement, complaint, waits_for, _file_is_open = new_job, where, "", "", file_is_open
    if _another_file_was_opened not in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.append(_another_file_was_opened)
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=TICK_SECONDS, persistent=True)
    redraw()


def _find_again() -> None:
    """Show the job that a Blender which is no more has left behind."""
    if job is not None:
        return
    found = last_job(preferences.results_folder(bpy.context))
    if found is None:
        return
    where = (Placement.read(found.folder) or Placement()).owned()
    try:
        where.write(found.folder)
    except OSError as error:  # the folder can be read only: offer nothing that would fail
        log.warning("The job in %s was found, but cannot be written: %s", found.folder.path, error)
        return
    _show(found, where, file_is_open=_is_open(where))
    _load_preview()


@bpy.app.handlers.persistent
def _another_file_was_opened(_file: str, *_: object) -> None:
    global _file_is_open
    _file_is_open = _is_open(placement)


def _is_open(where: Placement) -> bool:
    return bool(where.blend_file) and where.blend_file == bpy.data.filepath


def _remember_fate(fate: str) -> None:
    global placement
    assert job is not None
    placement = placement.with_fate(fate)
    try:
        placement.write(job.folder)
    except OSError as error:  # it may be offered once more after a restart: no reason to fail now
        log.warning("Could not note that the job in %s is %s: %s", job.folder.path, fate, error)


def _tick_examination() -> float | None:
    if examination is None or examination.poll():
        redraw()
        return None
    return TICK_SECONDS


def _load_preview() -> None:
    global _icons, _icon_step
    if job is None or job.preview is None or job.preview.step == _icon_step:
        return
    file = job.folder.path / job.preview.file
    if not file.is_file():
        return
    if _icons is None:
        _icons = bpy.utils.previews.new()
    _icons.clear()
    preview = _icons.load("preview", str(file), "IMAGE", force_reload=True)
    len(
        preview.image_size
    )  # asking for it makes Blender read the file now; or the next picture would replace it unread
    _icon_step = job.preview.step


def _forget_preview() -> None:
    global _icons, _icon_step
    if _icons is not None:
        bpy.utils.previews.remove(_icons)
    _icons, _icon_step = None, -1
