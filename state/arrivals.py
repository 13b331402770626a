"""From jobs into the scene: markers where objects will stand, light meshes while they grow, results at the end.

Nothing here waits, and nobody is interrupted: a result that comes at a bad moment waits itself.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import bpy
from mathutils import Vector

from ..jobs.guard import Guard
from ..jobs.job import Job
from ..jobs.placement import DISMISSED, IMPORTED, PENDING, Placement
from ..scene import destination, live_mesh, markers
from ..scene.free_space import Box, Floor, step_aside
from ..scene.handlers import Handlers
from ..scene.importer import ImportFailedError, put_into_scene
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import JobFolder, storage_errors
from .redraw import redraw
from .timer import Timer

MAX_MARKERS = 50
"""Of a long list of prompts, the jobs that begin later get theirs when they begin."""

log = logging.getLogger(__name__)


class Arrivals:
    """What this Blender is to bring into its scenes.

    Attributes:
        waits_for: what the person is to do before the finished results can come into the scene; empty where nothing.
        complaint: why the last result could not be brought into the scene: one sentence.
    """

    def __init__(self) -> None:
        self.waits_for = ""
        self.complaint = ""
        self._placements: dict[str, Placement] = {}
        """By name, of the jobs whose result this Blender is to bring into a scene, or has brought."""
        self._ready: dict[str, JobFolder] = {}
        """By name, results that wait for their moment."""
        self._in_open_file: set[str] = set()
        """Names of the jobs that were asked for in the file that is open."""
        self._moved: set[str] = set()
        """Names of the jobs whose marker the person has moved, and which has gone since."""
        self._unmarked: set[str] = set()
        """Names of the jobs in the open file that get their marker when they begin."""
        self._shown_steps: dict[str, int | None] = {}
        self._guarded = Guard()
        self._cleaner = Timer(self.remove_what_is_over)
        of = bpy.app.handlers
        self._handlers = Handlers(
            (of.load_post, self._another_file_was_opened),
            (of.save_post, self._file_was_saved),
            (of.undo_post, self._time_was_turned),
            (of.redo_post, self._time_was_turned),
        )

    def begin(self) -> None:
        """Called when the extension is enabled."""
        self._handlers.begin()

    def end(self) -> None:
        """Called when the extension is disabled."""
        self._handlers.end()
        self._cleaner.stop()

    def expect(self, context: bpy.types.Context, job: Job, where: Placement) -> None:
        """Remember where a job's result is to stand, and show it by a marker.

        Raises:
            StorageError: the job's folder cannot be written.
        """
        with storage_errors(job.folder.path):
            where.write(job.folder)
        self._placements[job.name] = where
        self._in_open_file.add(job.name)
        self._mark_soon(context, job, where)

    def expect_again(self, context: bpy.types.Context, job: Job) -> None:
        """As `expect`, for a job that goes on, or that another Blender has begun: where it was to stand."""
        written = Placement.read(job.folder)
        if written is not None and not written.is_ours(job.folder):
            written = None
        known = self._placements.get(job.name) or written
        where = (known or self.placement_at_cursor(context, job.request.height)).with_fate(PENDING).owned()
        with storage_errors(job.folder.path):
            where.write(job.folder)
        self._placements[job.name] = where
        if known is None or job.name in self._in_open_file or _is_here(job.name, where):
            self._in_open_file.add(job.name)
            self._mark_soon(context, job, where)

    def wants(self, name: str) -> bool:
        """Whether this Blender is to bring the job's result into a scene, and has not yet."""
        return name in self._placements and self._placements[name].fate == PENDING

    def placement_of(self, name: str) -> Placement | None:
        """Where the job's result is to stand, or stands, as far as this Blender knows."""
        return self._placements.get(name)

    def belongs_here(self, name: str) -> bool:
        """Whether the job was asked for in the file that is open."""
        return name in self._in_open_file

    def waits_here(self, name: str) -> bool:
        """Whether the job's finished result will come into the open file by itself."""
        return name in self._ready

    def hear(self, job: Job) -> None:
        """Follow a job of which there is news."""
        if not self.wants(job.name) or job.name not in self._in_open_file:
            return
        markers.tidy()
        if job.name in self._unmarked and job.state not in (events.QUEUED, *events.FINAL_STATES):
            self._mark(bpy.context, job, self._placements[job.name])
        if job.state == events.DONE:
            self._ready[job.name] = job.folder
        elif job.state in (events.CANCELLED, events.FAILED):
            self._unmarked.discard(job.name)
            self._take_marker_away(job.name, job.folder)
        elif self._shown_steps.get(job.name) != job.live_step and live_mesh.show(bpy.context, job.folder):
            self._shown_steps[job.name] = job.live_step

    def bring_in(self) -> list[str]:
        """Bring the waiting results into the scene where the moment is good; the names of those that came."""
        came = []
        reason = ""
        for name, folder in list(self._ready.items()):
            reason = destination.reason_to_wait(bpy.context, self._placements[name])
            if reason:
                break
            del self._ready[name]
            what = f'The result of "{name}"'
            self.complaint = f"{what} could not be brought into the scene: put it there from the history."
            with self._guarded(what):  # else `put` says what is wrong
                if self.put(bpy.context, name, folder) is not None:
                    came.append(name)
        if reason != self.waits_for:
            self.waits_for = reason
            redraw()
        return came

    def put(self, context: bpy.types.Context, name: str, folder: JobFolder) -> bpy.types.Object | None:
        """Bring a result into the scene now, as one undo step; None where that failed, and `complaint` says why."""
        where = self._placements.get(name) or Placement.read(folder)
        if where is None or (where.fate == IMPORTED and markers.find(name) is None):
            where = self.placement_at_cursor(context)
        is_chosen = name in self._moved or markers.was_moved(name, where)
        try:
            placed = put_into_scene(context, folder, where)
        except ImportFailedError as error:
            self.complaint = str(error)
            return None
        if not is_chosen:
            step_aside(context, placed)
        bpy.ops.ed.undo_push(message=placed.name)
        self.complaint = ""
        self._ready.pop(name, None)
        self._in_open_file.add(name)
        self._settle(name, folder, dataclasses.replace(where, blend_file=bpy.data.filepath), IMPORTED)
        return placed

    def dismiss(self, name: str, folder: JobFolder) -> None:
        """Bring a job's result into no scene unasked, and take its marker away."""
        self._ready.pop(name, None)
        markers.remove(name)
        where = self._placements.get(name) or Placement.read(folder)
        if where is not None and where.fate == PENDING:
            self._settle(name, folder, where, DISMISSED)

    def forget(self, name: str) -> None:
        """The job is no more: no marker, no result."""
        self._ready.pop(name, None)
        self._unmarked.discard(name)
        markers.remove(name)
        if name in self._placements:
            self._placements[name] = self._placements[name].with_fate(DISMISSED)

    def remove_what_is_over(self) -> None:
        """Take away what shows jobs whose result has arrived, or is not wanted."""
        markers.remove_stale(lambda name: name in self._placements and self._placements[name].fate != PENDING)

    def placement_at_cursor(self, context: bpy.types.Context, height: float = 1.0) -> Placement:
        """A place for one result, `height` in metres, as `placements_at_cursor` finds it."""
        return self.placements_at_cursor(context, [height])[0]

    def placements_at_cursor(self, context: bpy.types.Context, heights: Sequence[float]) -> list[Placement]:
        """Places where the 3D cursor is now, wherever it is when the results are there, or beside what stands there.

        Args:
            heights: of the objects, in metres.
        """
        scene = context.scene
        scale = scene.unit_settings.scale_length
        floor = Floor(context.view_layer, reserved=self._reserved(max(heights, default=1.0) / scale))
        row = floor.row(scene.cursor.location, [height / scale for height in heights])
        return [Placement.at(location, scene=scene.name, blend_file=bpy.data.filepath) for location in row]

    def _reserved(self, edge: float) -> list[Box]:
        """Where those will stand that have no marker yet: one box for each row of them, since they may be thousands."""
        rows: dict[tuple[float, float], list[float]] = {}
        for x, y, z in (self._placements[name].location for name in self._unmarked if self.wants(name)):
            rows.setdefault((y, z), []).append(x)
        ends = [(Vector((min(xs), y, z)), Vector((max(xs), y, z))) for (y, z), xs in rows.items()]
        return [Box(Box.of_edge(first, edge).low, Box.of_edge(last, edge).high) for first, last in ends]

    def _mark_soon(self, context: bpy.types.Context, job: Job, where: Placement) -> None:
        """Show a marker now, or when the job begins where there are many already."""
        if job.state != events.QUEUED or markers.count() < MAX_MARKERS:
            self._mark(context, job, where)
        else:
            self._unmarked.add(job.name)

    def _mark(self, context: bpy.types.Context, job: Job, where: Placement) -> None:
        self._unmarked.discard(job.name)
        if bpy.app.background or markers.find(job.name) is not None:
            return
        scene = destination.scene_of(context, where)
        marker = markers.add(scene, job.name, job.request.prompt, job.request.height, where.location)
        marker.matrix_world = markers.matrix_from(where)

    def _take_marker_away(self, name: str, folder: JobFolder) -> None:
        """But remember where it was, for the case that the job goes on."""
        matrix = markers.matrix_of(name)
        if matrix is None:
            return
        numbers = tuple(value for row in matrix for value in row)
        if markers.was_moved(name, self._placements[name]):
            self._moved.add(name)
        self._settle(name, folder, dataclasses.replace(self._placements[name], matrix=numbers), PENDING)
        markers.remove(name)

    def _settle(self, name: str, folder: JobFolder, where: Placement, fate: str) -> None:
        self._placements[name] = where.with_fate(fate)
        self._shown_steps.pop(name, None)
        try:
            self._placements[name].write(folder)
        except OSError as error:  # it may be offered once more after a restart: no reason to fail now
            log.warning("Could not note that the job in %s is %s: %s", folder.path, fate, error)

    def _another_file_was_opened(self, *_: object) -> None:
        self._in_open_file.clear()
        self._in_open_file.update(name for name, where in self._placements.items() if _is_here(name, where))
        self._shown_steps.clear()
        self._unmarked.clear()
        for name in set(self._ready) - self._in_open_file:
            del self._ready[name]

    def _file_was_saved(self, *_: object) -> None:
        """Perhaps for the first time, or elsewhere: that is where its jobs belong from now on."""
        for name in self._in_open_file & self._placements.keys():
            self._placements[name] = dataclasses.replace(self._placements[name], blend_file=bpy.data.filepath)

    def _time_was_turned(self, *_: object) -> None:
        """Undo and redo may bring markers back of jobs that are over; not to be touched before Blender is done."""
        self._shown_steps.clear()
        if not bpy.app.background:
            self._cleaner.start(0.0, persistent=False)


def _is_here(name: str, where: Placement) -> bool:
    """Whether the file that is open is the one in which the job was asked for."""
    return (bool(where.blend_file) and where.blend_file == bpy.data.filepath) or markers.find(name) is not None
