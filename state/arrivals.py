"""Brings jobs into the scene: markers where objects will stand, live meshes while they grow, finally the results.

A texture has no marker: it comes onto the object that it was made for.

The person is never interrupted: a result that is ready at a bad moment is imported later.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import bpy
from mathutils import Vector

from ..jobs import words
from ..jobs.guard import Guard
from ..jobs.job import Job
from ..jobs.library import Entry
from ..jobs.placement import DISMISSED, IMPORTED, PENDING, Placement
from ..scene import destination, live_mesh, markers, source_mesh, step, target, texture_preview, texture_result
from ..scene.free_space import Box, Floor, step_aside
from ..scene.handlers import Handlers
from ..scene.importer import ImportFailedError, put_into_scene
from ..scene.open_file import OpenFile
from ..scene.units import metres_in
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import JobFolder, storage_errors
from ..sdi_engine.errors import EngineError
from .redraw import redraw
from .timer import Timer

MAX_MARKERS = 50
"""Of a long list of prompts, later jobs get their marker when they begin."""

log = logging.getLogger(__name__)


class Arrivals:
    """The results that this Blender imports into its scenes.

    Attributes:
        waits_for: what finished results wait for before they are imported, as one sentence; empty if none wait.
        complaint: why the last result could not be imported, as one sentence.
        told: what the person should know of an imported texture, or why a result could not be imported, as sentences,
            by the job's name.
    """

    def __init__(self) -> None:
        self.waits_for = ""
        self.complaint = ""
        self.told: dict[str, list[str]] = {}
        self._placements: dict[str, Placement] = {}
        """The placements of jobs whose results this Blender will import or has imported, by name."""
        self._folders: dict[str, JobFolder] = {}
        """The folders of these jobs, by name."""
        self._ready: dict[str, Job] = {}
        """Finished results that wait to be imported, by name."""
        self._elsewhere: dict[str, Job] = {}
        """Finished results of other files, which wait until these are opened again, by name."""
        self._in_open_file: set[str] = set()
        """Names of the jobs that were started in the open file."""
        self._moved: set[str] = set()
        """Names of the jobs whose marker the person moved before it was removed."""
        self._taken_away: set[str] = set()
        """Names of the jobs whose marker was removed, since they were stopped or have failed."""
        self._unmarked: set[str] = set()
        """Names of the jobs in the open file that will get their marker when they begin."""
        self._unheard: dict[str, Job] = {}
        """Jobs that have changed while Blender rendered or baked, by name."""
        self._doomed: set[str] = set()
        """Names of the jobs that are to be shown no more when the scene is no longer in use."""
        self._shown_steps: dict[str, int | None] = {}
        self._overlaid: set[str] = set()
        """Names of the jobs whose texture is shown on its object as it grows."""
        self._guarded = Guard()
        self._cleaner = Timer(self.remove_stale)
        of = bpy.app.handlers
        self._handlers = Handlers(
            (of.load_post, self._another_file_was_opened),
            (of.save_pre, self._file_will_be_saved),
            (of.save_post, self._file_was_saved),
            (of.undo_post, self._undo_was_used),
            (of.redo_post, self._undo_was_used),
        )

    def begin(self) -> None:
        """Called when the extension is enabled."""
        self._handlers.begin()

    def end(self) -> None:
        """Called when the extension is disabled."""
        self._handlers.end()
        self._cleaner.stop()

    def expect(self, context: bpy.types.Context, job: Job, where: Placement) -> None:
        """Record where a job's result belongs, and show that place with a marker.

        Raises:
            StorageError: the job's folder cannot be written.
        """
        with storage_errors(job.folder.path):
            where.write(job.folder)
        self._placements[job.name] = where
        self._folders[job.name] = job.folder
        self._in_open_file.add(job.name)
        self._mark_soon(context, job, where)

    def expect_again(self, context: bpy.types.Context, job: Job, file: OpenFile | None = None) -> None:
        """Like `expect`, for a job that is resumed or that another Blender started: with its original placement.

        Args:
            file: where many jobs are expected at once, the file as it was when that began.
        """
        written = Placement.read(job.folder)
        if written is not None and not written.is_ours(job.folder):
            written = None
        known = self._placements.get(job.name) or written
        where = (known or self.placement_at_cursor(context, job.request.height)).with_fate(PENDING).owned()
        with storage_errors(job.folder.path):
            where.write(job.folder)
        self._placements[job.name] = where
        self._folders[job.name] = job.folder
        self._taken_away.discard(job.name)
        self._doomed.discard(job.name)
        if known is None or job.name in self._in_open_file or (file or OpenFile()).is_of(job.name, where):
            self._in_open_file.add(job.name)
            self._mark_soon(context, job, where)

    def is_left(self, file: OpenFile, entry: Entry) -> bool:
        """Whether the open file waits for a job, or shows one, that ended while no Blender looked after it there.

        So is a result that was brought in, where the file was not saved afterwards.
        """
        where = entry.placement
        if where is None or not entry.is_ours:
            return False
        is_shown = entry.name in file.shown
        if entry.state == events.DONE:
            if entry.name in self._placements:
                return False
            is_left = is_shown or (entry.is_pending and file.is_of(entry.name, where))
        else:
            is_left = is_shown and entry.state in (events.CANCELLED, events.FAILED)
        return is_left and not where.is_owned_by_another

    def take_up(self, context: bpy.types.Context, job: Job, file: OpenFile) -> None:
        """Bring in a job that `is_left`, or remove what shows it, if it will not come.

        Raises:
            StorageError: the job's folder cannot be written.
        """
        where = self._placements.get(job.name) or Placement.read(job.folder) or Placement()
        is_wanted = where.fate == PENDING or (where.fate == IMPORTED and job.name in file.marked)
        if job.state == events.DONE and is_wanted:
            self.expect_again(context, job, file)
            self.hear(job)
        elif job.state in (events.CANCELLED, events.FAILED) and where.fate == PENDING:
            self._placements[job.name] = where
            self._take_marker_away(job.name, job.folder)
        else:
            markers.remove(job.name)

    def wants(self, name: str) -> bool:
        """Whether this Blender will import the job's result and has not done so yet."""
        return name in self._placements and self._placements[name].fate == PENDING

    def placement_of(self, name: str) -> Placement | None:
        """The placement of the job's result; None if this Blender does not know it."""
        return self._placements.get(name)

    def belongs_here(self, name: str) -> bool:
        """Whether the job was started in the open file."""
        return name in self._in_open_file

    def waits_here(self, name: str) -> bool:
        """Whether the job's finished result is waiting to be imported into the open file."""
        return name in self._ready

    @property
    def has_some(self) -> bool:
        """Whether results of the open file wait to be imported, or changes to be shown in it."""
        return bool(self._ready or self._unheard or self._doomed)

    def hear(self, job: Job) -> None:
        """Update marker, live mesh and result of a job that has changed; while the scene is in use, `bring_in` does so
        afterwards."""
        if not self.wants(job.name):
            return
        if job.name not in self._in_open_file:
            if job.state == events.DONE:
                self._elsewhere[job.name] = job
            return
        if job.state == events.DONE:
            self._ready[job.name] = job
        if destination.is_in_use():
            self._unheard[job.name] = job
            return
        if is_texture(job):
            self._hear_of_texture(job)
            return
        markers.tidy()
        if job.name in self._unmarked and job.state not in (events.QUEUED, *events.FINAL_STATES):
            self._mark(bpy.context, job, self._placements[job.name])
        if job.state in (events.CANCELLED, events.FAILED):
            self._unmarked.discard(job.name)
            self._take_marker_away(job.name, job.folder)
        elif (
            job.state != events.DONE
            and self._shown_steps.get(job.name) != job.live_step
            and live_mesh.show(bpy.context, job.folder)
        ):
            self._shown_steps[job.name] = job.live_step

    def _hear_of_texture(self, job: Job) -> None:
        if job.is_over:
            self.hide_overlay(job.name)
        elif job.live_step is not None and self._shown_steps.get(job.name) != job.live_step:
            where = self._placements[job.name]
            if texture_preview.show(job.folder, where, job.request):
                self._shown_steps[job.name] = job.live_step
                self._overlaid.add(job.name)

    def hide_overlay(self, name: str) -> None:
        """Do not show on its object how a job's texture grows, until the next step."""
        if name in self._overlaid:
            self._shown_steps.pop(name, None)
        self._overlaid.discard(name)
        if markers.helpers(name, markers.OVERLAY):  # also one that an undo has put aside
            self._remove(name)

    def bring_in(self) -> list[str]:
        """Import the waiting results, unless this is a bad moment; returns the names of the imported ones."""
        if (self._unheard or self._doomed) and not destination.is_in_use():
            self._catch_up()
        came = []
        reason = complaint = ""
        for name, job in list(self._ready.items()):
            what = words.result_of(job.request.task)
            reason = destination.reason_to_wait(bpy.context, self._placements[name], what, name)
            if reason:
                break
            del self._ready[name]
            what = f'The result of "{name}"'
            self.complaint = f"{what} could not be imported: import it from the list of jobs."
            with self._guarded(what):  # `put` replaces the complaint, unless an unexpected error ends it
                if self.put(bpy.context, name, job.folder) is not None:
                    came.append(name)
            complaint = complaint or self.complaint
        if complaint:  # which those that came later have taken back
            self.complaint = complaint
        if reason != self.waits_for:
            self.waits_for = reason
            redraw()
        return came

    def _catch_up(self) -> None:
        """Show what has happened while the scene was in use."""
        doomed, self._doomed = self._doomed, set()
        unheard, self._unheard = self._unheard, {}
        for name in doomed:
            markers.remove(name)
        for name, job in unheard.items():
            with self._guarded(f'Updating the job "{name}"'):
                self.hear(job)

    def _remove(self, name: str) -> None:
        """Remove what shows a job; while the scene is in use, `bring_in` does so afterwards."""
        if destination.is_in_use():
            self._doomed.add(name)
        else:
            markers.remove(name)

    def put(self, context: bpy.types.Context, name: str, folder: JobFolder) -> bpy.types.Object | None:
        """Import a result now, as one undo step; returns None if that failed, and `complaint` then says why.

        A texture, and a refined shape, comes onto the object that it was made for.
        """
        try:
            if folder.request().is_of_a_mesh:
                return self.put_texture(context, name, folder)
        except EngineError as error:
            self._complain(name, error)
            return None
        where = self._placements.get(name) or Placement.read(folder)
        if where is None or (where.fate == IMPORTED and markers.find(name) is None):
            where = self.placement_at_cursor(context)
        is_chosen = name in self._moved or markers.was_moved(name, where)
        try:
            placed = put_into_scene(context, folder, where)
        except ImportFailedError as error:
            self._complain(name, error)
            return None
        if not is_chosen:
            step_aside(context, placed)
        step.push()
        self.complaint = ""
        self.told.pop(name, None)
        self._ready.pop(name, None)
        self._in_open_file.add(name)
        self._settle(name, folder, dataclasses.replace(where, blend_file=bpy.data.filepath), IMPORTED)
        return placed

    def put_texture(
        self, context: bpy.types.Context, name: str, folder: JobFolder, chosen: bpy.types.Object | None = None
    ) -> bpy.types.Object | None:
        """Like `put`, for a texture; returns the object that has it now.

        Args:
            context: its view layer is used.
            name: of the job.
            folder: of the job.
            chosen: the object that the person has chosen: used if it is a copy of the one that the texture was made
                for, or if that one is not in the file.
        """
        where = self._placements.get(name) or Placement.read(folder) or Placement()
        meant = where.target if where.is_ours(folder) or name in self._placements else None
        thing = (target.find(meant, chosen) if meant is not None else None) or chosen
        self.hide_overlay(name)
        try:
            if thing is None:
                raise ImportFailedError(_not_here(where))
            applied = texture_result.apply(context, thing, folder)
        except ImportFailedError as error:
            self._complain(name, error)
            self._settle(name, folder, where, IMPORTED if where.fate == IMPORTED else DISMISSED)
            return None
        step.push()
        self.complaint = ""
        self.told[name] = applied.notices
        self._ready.pop(name, None)
        self._in_open_file.add(name)
        self._settle(name, folder, dataclasses.replace(where, blend_file=bpy.data.filepath), IMPORTED)
        return applied.thing

    def _complain(self, name: str, error: Exception) -> None:
        self.complaint = str(error)
        self.told[name] = [str(error)]

    def dismiss(self, name: str, folder: JobFolder) -> None:
        """Do not import a job's result automatically, and remove its marker."""
        self._ready.pop(name, None)
        self._remove(name)
        where = self._placements.get(name) or Placement.read(folder)
        if where is not None and where.fate == PENDING:
            self._settle(name, folder, where, DISMISSED)

    def forget(self, name: str) -> None:
        """Remove all traces of a deleted job: its marker, and its waiting result."""
        self._ready.pop(name, None)
        self._unmarked.discard(name)
        self._remove(name)
        if name in self._placements:
            self._placements[name] = self._placements[name].with_fate(DISMISSED)

    def remove_stale(self) -> None:
        """Remove the markers and live meshes of jobs whose result was imported or dismissed."""
        markers.remove_stale(self._shows_nothing)

    def _shows_nothing(self, name: str) -> bool:
        """Whether the job has neither a marker nor a live mesh."""
        where = self._placements.get(name)
        return where is not None and (
            where.fate != PENDING
            or name in self._taken_away
            or (where.target is not None and name not in self._overlaid)
        )

    def placement_at_cursor(self, context: bpy.types.Context, height: float = 1.0) -> Placement:
        """A placement for one result of `height` metres, from `placements_at_cursor`."""
        return self.placements_at_cursor(context, [height])[0]

    def placements_at_cursor(self, context: bpy.types.Context, heights: Sequence[float]) -> list[Placement]:
        """Placements at the 3D cursor's present location, or beside it where that place is occupied.

        Args:
            context: its scene and view layer are used.
            heights: of the objects, in metres.
        """
        scene = context.scene
        scale = metres_in(scene)
        floor = Floor(context.view_layer, reserved=self._reserved(max(heights, default=1.0) / scale))
        row = floor.row(destination.cursor_of(scene), [height / scale for height in heights])
        return [Placement.at(location, scene=scene.name, blend_file=bpy.data.filepath) for location in row]

    def _reserved(self, edge: float) -> list[Box]:
        """The places of jobs without a marker yet: one box for each row of them, since there may be thousands."""
        rows: dict[tuple[float, float], list[float]] = {}
        for x, y, z in (self._placements[name].location for name in self._unmarked if self.wants(name)):
            rows.setdefault((y, z), []).append(x)
        ends = [(Vector((min(xs), y, z)), Vector((max(xs), y, z))) for (y, z), xs in rows.items()]
        return [Box(Box.of_edge(first, edge).low, Box.of_edge(last, edge).high) for first, last in ends]

    def _mark_soon(self, context: bpy.types.Context, job: Job, where: Placement) -> None:
        """Show a marker now, or, if there are many already, or the scene is in use, when the job begins or changes."""
        if is_texture(job):
            return
        is_room = job.state != events.QUEUED or markers.count() < MAX_MARKERS
        if is_room and not destination.is_in_use():
            self._mark(context, job, where)
        else:
            self._unmarked.add(job.name)

    def _mark(self, context: bpy.types.Context, job: Job, where: Placement) -> None:
        self._unmarked.discard(job.name)
        if bpy.app.background:
            return
        known = markers.find(job.name)
        if known is not None:
            markers.add_box(known, job.request.prompt)
            return
        scene = destination.scene_of(context, where)
        results = str(job.folder.path.parent)
        marker = markers.add(scene, job.name, job.request.prompt, job.request.height, where.location, results)
        marker.matrix_world = markers.matrix_from(where)

    def _take_marker_away(self, name: str, folder: JobFolder) -> None:
        """Remove what shows the job, and record where its marker was, in case the job is resumed."""
        self._taken_away.add(name)
        matrix = markers.matrix_of(name)
        if matrix is not None:
            numbers = tuple(value for row in matrix for value in row)
            if markers.was_moved(name, self._placements[name]):
                self._moved.add(name)
            self._settle(name, folder, dataclasses.replace(self._placements[name], matrix=numbers), PENDING)
        markers.remove(name)

    def _settle(self, name: str, folder: JobFolder, where: Placement, fate: str) -> None:
        self._placements[name] = where.with_fate(fate)
        self._shown_steps.pop(name, None)
        self._note(name, folder)

    def _note(self, name: str, folder: JobFolder) -> None:
        """Write a job's placement into its folder, for a later Blender."""
        where = self._placements[name]
        try:
            where.write(folder)
        except OSError as error:  # at worst it is offered once more after a restart
            log.warning("Could not record that the result in %s is %s: %s", folder.path, where.fate, error)

    def _another_file_was_opened(self, path: str, *_: object) -> None:
        """`path`: of the file; empty of a new one, which is made of a startup file or a template. It has asked for
        nothing, whatever was shown when that was saved."""
        texture_preview.remove_all()  # of a file that Blender has saved by itself
        self._overlaid.clear()
        if not path:
            markers.remove_stale(lambda name: True)
        file = OpenFile()
        self._bring_in_again(file)
        self.remove_stale()
        self._in_open_file.clear()
        if path:
            self._in_open_file.update(name for name, where in self._placements.items() if file.is_of(name, where))
        self._shown_steps.clear()
        self._unmarked.clear()
        finished = self._elsewhere | self._ready
        self._ready = {name: job for name, job in finished.items() if name in self._in_open_file and self.wants(name)}
        self._elsewhere = {name: job for name, job in finished.items() if name not in self._in_open_file}

    def take_over_appended(self) -> bool:
        """A scene that was appended from a file in which a job was made brings the job's marker, and so its result.

        Returns:
            Whether there are markers; the list of jobs then has to be read, by which finished ones are found.
        """
        file = OpenFile()
        self._bring_in_again(file)
        self._in_open_file.update(name for name in file.marked if self.wants(name))
        for name in self._elsewhere.keys() & self._in_open_file:
            self._ready[name] = self._elsewhere.pop(name)
        return bool(file.marked)

    def _bring_in_again(self, file: OpenFile) -> None:
        """Forget that results were imported whose markers are in the file as it was saved: `is_left` finds these."""
        for name in file.marked:
            if name in self._placements and self._placements[name].fate == IMPORTED:
                del self._placements[name]

    def _file_will_be_saved(self, *_: object) -> None:
        """Keep what only shows how a texture grows out of the file."""
        for name in list(self._overlaid):
            self.hide_overlay(name)

    def _file_was_saved(self, *_: object) -> None:
        """After the first save or a Save As the file's jobs belong to its new path.

        Of objects their markers tell that, of textures their objects, unless an undo has taken that mark away.
        """
        for name in self._in_open_file & self._placements.keys():
            where = self._placements[name]
            if where.blend_file == bpy.data.filepath:
                continue
            self._placements[name] = dataclasses.replace(where, blend_file=bpy.data.filepath)
            if where.fate == PENDING and where.target is not None and name in self._folders:
                self._note(name, self._folders[name])

    def _undo_was_used(self, *_: object) -> None:
        """Undo and redo may bring back markers of jobs that are over; remove them once Blender has finished."""
        self._shown_steps.clear()
        self._overlaid.clear()
        if not bpy.app.background:
            self._cleaner.start(0.0, persistent=False)


def is_texture(job: Job) -> bool:
    """Whether the job makes a texture, perhaps with a refined shape, for an object that there is."""
    return job.request.is_of_a_mesh


def _not_here(where: Placement) -> str:
    linked = target.find_linked(where.target) if where.target is not None else None
    if linked is not None:
        return f"{source_mesh.check(linked)[:-1]}, and use Put on Object in the list of jobs."
    name = f"“{where.target.name}”" if where.target is not None else "its object"
    return (
        f"The result is ready, but {name} is no longer in this file: if it was joined to another object, undo that. "
        "The result is kept in Queue and History, to be put on another object with the same mesh."
    )
