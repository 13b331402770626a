"""From jobs into the scene: markers where objects will stand, light meshes while they grow, results at the end.

Nothing here waits, and nobody is thrown out of what he is doing: a result that comes at a bad moment waits itself.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import bpy
from mathutils import Vector

from ..jobs.guard import guarded
from ..jobs.job import Job
from ..jobs.placement import DISMISSED, IMPORTED, PENDING, Placement
from ..scene import destination, free_space, live_mesh, markers, origin
from ..scene.free_space import Box, Floor
from ..scene.importer import ImportFailedError, put_into_scene
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import JobFolder, storage_errors
from .redraw import redraw

MAX_MARKERS = 50
"""Of a long list of prompts, the jobs that begin later get theirs when they begin."""

waits_for = ""
"""What the person is to do before the finished results can come into the scene; empty where nothing."""

complaint = ""
"""Why the last result could not be brought into the scene: one sentence."""

_placements: dict[str, Placement] = {}
"""By name, of the jobs whose result this Blender is to bring into a scene, or has brought."""

_ready: dict[str, JobFolder] = {}
"""By name, results that wait for their moment."""

_in_open_file: set[str] = set()
"""Names of the jobs that were asked for in the file that is open."""

_moved: set[str] = set()
"""Names of the jobs whose marker the person has moved, and which has gone since."""

_unmarked: set[str] = set()
"""Names of the jobs in the open file that get their marker when they begin."""

_placed: dict[str, str] = {}
"""By the job's name, the name of the object that was found last."""

_shown_steps: dict[str, int | None] = {}

log = logging.getLogger(__name__)


def begin() -> None:
    """Called when the extension is enabled."""
    bpy.app.handlers.load_post.append(_another_file_was_opened)
    bpy.app.handlers.save_post.append(_file_was_saved)
    bpy.app.handlers.undo_post.append(_time_was_turned)
    bpy.app.handlers.redo_post.append(_time_was_turned)


def end() -> None:
    """Called when the extension is disabled."""
    global waits_for, complaint
    for handlers, handler in (
        (bpy.app.handlers.load_post, _another_file_was_opened),
        (bpy.app.handlers.save_post, _file_was_saved),
        (bpy.app.handlers.undo_post, _time_was_turned),
        (bpy.app.handlers.redo_post, _time_was_turned),
    ):
        if handler in handlers:
            handlers.remove(handler)
    if bpy.app.timers.is_registered(_remove_what_is_over):
        bpy.app.timers.unregister(_remove_what_is_over)
    for memory in (_placements, _ready, _in_open_file, _moved, _unmarked, _placed, _shown_steps):
        memory.clear()
    waits_for = complaint = ""


def expect(context: bpy.types.Context, job: Job, where: Placement) -> None:
    """Remember where a job's result is to stand, and show it by a marker.

    Raises:
        StorageError: the job's folder cannot be written.
    """
    with storage_errors(job.folder.path):
        where.write(job.folder)
    _placements[job.name] = where
    _in_open_file.add(job.name)
    _mark_soon(context, job, where)


def expect_again(context: bpy.types.Context, job: Job) -> None:
    """As `expect`, for a job that goes on, or that another Blender has begun: where it was to stand."""
    written = Placement.read(job.folder)
    known = _placements.get(job.name) or (written if written is not None and written.is_ours(job.folder) else None)
    where = (known or placement_at_cursor(context, job.request.height)).with_fate(PENDING).owned()
    with storage_errors(job.folder.path):
        where.write(job.folder)
    _placements[job.name] = where
    if known is None or job.name in _in_open_file or _is_here(job.name, where):
        _in_open_file.add(job.name)
        _mark_soon(context, job, where)


def wants(name: str) -> bool:
    """Whether this Blender is to bring the job's result into a scene, and has not yet."""
    return name in _placements and _placements[name].fate == PENDING


def whereabouts(context: bpy.types.Context, job: Job) -> tuple[str, bool]:
    """Where a finished result is, as one sentence, and whether it stands where the person sees it."""
    where = _placements.get(job.name)
    if wants(job.name):
        return f"The object is ready{_made_for(job.name, where)}.", False
    found = _find_placed(context, job)
    if found is None:
        if where is None or where.fate != IMPORTED:
            return "The object is ready; it was not put into this file.", False
        if job.name in _in_open_file:
            return "Done, but it is no longer in this file: it was deleted, or undone.", False
        return f"Done{_made_for(job.name, where)}.", False
    if _is_seen(context, found):
        return "Done: it stands in the scene.", True
    if found.name in context.view_layer.objects:
        return "Done: it is in the scene, but hidden: show it in the Outliner.", False
    if found.name in context.scene.objects:
        homes = " or ".join(f"“{collection.name}”" for collection in found.users_collection)
        return f"Done: it is in the scene, but {homes} is excluded from this view layer, see the Outliner.", False
    others = [scene.name for scene in bpy.data.scenes if found.name in scene.objects]
    if others:
        return f"Done: it stands in the scene “{others[0]}”, which is not the one shown.", False
    return "Done, but it stands in no scene any more.", False


def _made_for(name: str, where: Placement | None) -> str:
    """In which other file it belongs; empty where that is the one that is open."""
    if name in _in_open_file:
        return ""
    file = where.blend_file if where is not None else ""
    if not file:
        return ": it was made for another file, which had not been saved"
    return f": it was made for “{Path(file).name}” in {Path(file).parent}"


def _find_placed(context: bpy.types.Context, job: Job) -> bpy.types.Object | None:
    """The job's object in the open file; where there are copies, one that is seen, if any is."""
    known = bpy.data.objects.get(_placed.get(job.name, ""))
    if known is not None and origin.is_of(known, job.folder) and _is_seen(context, known):
        return known  # so that a large scene need not be searched each time the panel is drawn
    every = [each for each in bpy.data.objects if origin.is_of(each, job.folder)]
    found = next((each for each in every if _is_seen(context, each)), every[0] if every else None)
    if found is not None:
        _placed[job.name] = found.name
    return found


def _is_seen(context: bpy.types.Context, placed: bpy.types.Object) -> bool:
    return context.view_layer.objects.get(placed.name) == placed and placed.visible_get(view_layer=context.view_layer)


def waits_here(name: str) -> bool:
    """Whether the job's finished result will come into the open file by itself."""
    return name in _ready


def hear(job: Job) -> None:
    """Follow a job of which there is news."""
    if not wants(job.name) or job.name not in _in_open_file:
        return
    markers.tidy()
    if job.name in _unmarked and job.state not in (events.QUEUED, *events.FINAL_STATES):
        _mark(bpy.context, job, _placements[job.name])
    if job.state == events.DONE:
        _ready[job.name] = job.folder
    elif job.state in (events.CANCELLED, events.FAILED):
        _unmarked.discard(job.name)
        _take_marker_away(job.name, job.folder)
    elif _shown_steps.get(job.name) != job.live_step and live_mesh.show(bpy.context, job.folder):
        _shown_steps[job.name] = job.live_step


def bring_in() -> list[str]:
    """Bring the waiting results into the scene where the moment is good; the names of those that came."""
    global waits_for, complaint
    came = []
    reason = ""
    for name, folder in list(_ready.items()):
        reason = destination.reason_to_wait(bpy.context, _placements[name])
        if reason:
            break
        del _ready[name]
        complaint = f'The result of "{name}" could not be brought into the scene: put it there from the history.'
        with guarded(f'The result of "{name}"'):  # else `put` says what is wrong
            if put(bpy.context, name, folder) is not None:
                came.append(name)
    if reason != waits_for:
        waits_for = reason
        redraw()
    return came


def put(context: bpy.types.Context, name: str, folder: JobFolder) -> bpy.types.Object | None:
    """Bring a result into the scene now, as one undo step; None where that failed, and `complaint` says why."""
    global complaint
    where = _placements.get(name) or Placement.read(folder)
    if where is None or (where.fate == IMPORTED and markers.find(name) is None):
        where = placement_at_cursor(context)
    is_chosen = name in _moved or markers.was_moved(name, where)
    try:
        placed = put_into_scene(context, folder, where)
    except ImportFailedError as error:
        complaint = str(error)
        return None
    if not is_chosen:
        step_aside(context, placed)
    bpy.ops.ed.undo_push(message=placed.name)
    complaint = ""
    _ready.pop(name, None)
    _in_open_file.add(name)
    _settle(name, folder, dataclasses.replace(where, blend_file=bpy.data.filepath), IMPORTED)
    return placed


def dismiss(name: str, folder: JobFolder) -> None:
    """Bring a job's result into no scene unasked, and take its marker away."""
    _ready.pop(name, None)
    markers.remove(name)
    where = _placements.get(name) or Placement.read(folder)
    if where is not None and where.fate == PENDING:
        _settle(name, folder, where, DISMISSED)


def forget(name: str) -> None:
    """The job is no more: no marker, no result."""
    _ready.pop(name, None)
    _unmarked.discard(name)
    markers.remove(name)
    if name in _placements:
        _placements[name] = _placements[name].with_fate(DISMISSED)


def placement_at_cursor(context: bpy.types.Context, height: float = 1.0) -> Placement:
    """A place for one result, `height` in metres, as `placements_at_cursor` finds it."""
    return placements_at_cursor(context, [height])[0]


def placements_at_cursor(context: bpy.types.Context, heights: Sequence[float]) -> list[Placement]:
    """Results go where the 3D cursor is now, wherever it is when they are there, or beside what stands there, in a row.

    Args:
        heights: of the objects, in metres.
    """
    scene = context.scene
    scale = scene.unit_settings.scale_length
    floor = Floor(context.view_layer, reserved=_reserved(max(heights, default=1.0) / scale))
    row = floor.row(scene.cursor.location, [height / scale for height in heights])
    return [Placement.at(location, scene=scene.name, blend_file=bpy.data.filepath) for location in row]


def _reserved(edge: float) -> list[Box]:
    """Where those will stand that have no marker yet: one box for each row of them, since they may be thousands."""
    rows: dict[tuple[float, float], list[float]] = {}
    for x, y, z in (_placements[name].location for name in _unmarked if wants(name)):
        rows.setdefault((y, z), []).append(x)
    ends = [(Vector((min(xs), y, z)), Vector((max(xs), y, z))) for (y, z), xs in rows.items()]
    return [Box(Box.of_edge(first, edge).low, Box.of_edge(last, edge).high) for first, last in ends]


def step_aside(context: bpy.types.Context, placed: bpy.types.Object) -> None:
    """Let a new object not stand in another one: it may be wider than its place was thought to be."""
    for scene in placed.users_scene:
        free_space.move_aside(destination.view_layer_of(context, scene), placed)


def _mark_soon(context: bpy.types.Context, job: Job, where: Placement) -> None:
    """Show a marker now, or when the job begins where there are many already."""
    if job.state != events.QUEUED or markers.count() < MAX_MARKERS:
        _mark(context, job, where)
    else:
        _unmarked.add(job.name)


def _mark(context: bpy.types.Context, job: Job, where: Placement) -> None:
    _unmarked.discard(job.name)
    if bpy.app.background or markers.find(job.name) is not None:
        return
    scene = destination.scene_of(context, where)
    marker = markers.add(scene, job.name, job.request.prompt, job.request.height, where.location)
    marker.matrix_world = markers.matrix_from(where)


def _take_marker_away(name: str, folder: JobFolder) -> None:
    """But remember where it was, for the case that the job goes on."""
    matrix = markers.matrix_of(name)
    if matrix is None:
        return
    numbers = tuple(value for row in matrix for value in row)
    if markers.was_moved(name, _placements[name]):
        _moved.add(name)
    _settle(name, folder, dataclasses.replace(_placements[name], matrix=numbers), PENDING)
    markers.remove(name)


def _settle(name: str, folder: JobFolder, where: Placement, fate: str) -> None:
    _placements[name] = where.with_fate(fate)
    _shown_steps.pop(name, None)
    try:
        _placements[name].write(folder)
    except OSError as error:  # it may be offered once more after a restart: no reason to fail now
        log.warning("Could not note that the job in %s is %s: %s", folder.path, fate, error)


def _is_here(name: str, where: Placement) -> bool:
    """Whether the file that is open is the one in which the job was asked for."""
    return (bool(where.blend_file) and where.blend_file == bpy.data.filepath) or markers.find(name) is not None


@bpy.app.handlers.persistent
def _another_file_was_opened(_file: str, *_: object) -> None:
    _in_open_file.clear()
    _in_open_file.update(name for name, where in _placements.items() if _is_here(name, where))
    _shown_steps.clear()
    _unmarked.clear()
    for name in set(_ready) - _in_open_file:
        del _ready[name]


@bpy.app.handlers.persistent
def _file_was_saved(*_: object) -> None:
    """Perhaps for the first time, or elsewhere: that is where its jobs belong from now on."""
    for name in _in_open_file & _placements.keys():
        _placements[name] = dataclasses.replace(_placements[name], blend_file=bpy.data.filepath)


@bpy.app.handlers.persistent
def _time_was_turned(*_: object) -> None:
    """Undo and redo may bring markers back of jobs that are over; not to be touched before Blender is done."""
    _shown_steps.clear()
    if not bpy.app.background and not bpy.app.timers.is_registered(_remove_what_is_over):
        bpy.app.timers.register(_remove_what_is_over, first_interval=0.0)


def _remove_what_is_over() -> None:
    markers.remove_stale(lambda name: name in _placements and _placements[name].fate != PENDING)
