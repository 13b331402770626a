"""What this Blender has to do with jobs: what a person can ask for, and the parts that see to it.

The parts know nothing of the session; each knows those before it:

desks            who looks after which results folder
display          what the panel shows
arrivals         what comes into the scene, and when
whereabouts      where it is then
submissions      jobs on their way into the queue
models           the models on this computer
watcher          looks for news of jobs, by a timer
engine_setup     whether the engine is set up
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import bpy

from ..jobs.job import Job
from ..jobs.library import Library
from ..jobs.placement import Placement
from ..scene import assets
from ..scene.handlers import Handlers
from ..scene.undo import UndoGuard
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import EngineError
from . import job_list, preferences
from .arrivals import Arrivals
from .desks import Desks
from .display import Display
from .engine_setup import EngineSetup
from .model_list import ModelList
from .redraw import redraw
from .submissions import Submissions, set_live
from .watcher import Watcher
from .whereabouts import Whereabouts


class Session:
    """From the moment when the extension is enabled until it is disabled; `current` holds the one that there is."""

    def __init__(self) -> None:
        self.desks = Desks()
        self.display = Display()
        self.arrivals = Arrivals()
        self.whereabouts = Whereabouts(self.arrivals)
        self.submissions = Submissions(self.arrivals)
        self.models = ModelList()
        self.watcher = Watcher(self.desks, self.display, self.arrivals, self.submissions, self.models)
        self.engine_setup = EngineSetup(self.desks, self.try_again)
        self._undo_guard = UndoGuard()
        self._handlers = Handlers((bpy.app.handlers.load_post, self._another_file_was_opened))
        self._catalog_handlers = assets.catalog_handlers()

    def begin(self) -> None:
        """Called when the extension is enabled."""
        self._catalog_handlers.begin()
        self._undo_guard.begin()
        self.arrivals.begin()
        self._handlers.begin()
        self.watcher.begin()
        self.engine_setup.begin()
        self.models.begin()

    def end(self) -> None:
        """Called when the extension is disabled: the engine goes on with its jobs, Blender forgets them."""
        self.models.end()
        self.engine_setup.end()
        self._handlers.end()
        if bpy.app.background:
            self.desks.close()
        self.submissions.drop()
        self.watcher.end()
        self.arrivals.end()
        self.display.pictures.free()
        self._undo_guard.end()
        self._catalog_handlers.end()

    def start(
        self, context: bpy.types.Context, requests: Iterable[JobRequest], where: Iterable[Placement], live: bool
    ) -> None:
        """Let jobs wait for their turn, and watch them; with `live`, show them as they grow.

        Raises:
            EngineError: a request is not valid, or a job's folder cannot be made.
        """
        desk = self.desks.desk(context)
        desk.use(preferences.engine(context))
        self.submissions.ask(desk, requests, where, live)
        self.watcher.add_some(context)
        self.watcher.look_soon()
        if not self.submissions.has_more:
            self.watcher.refresh_library()

    def add_the_rest(self, context: bpy.types.Context) -> None:
        """Try again to put those jobs into the queue that the disk refused; raises EngineError."""
        if self.submissions.has_more:
            self.watcher.add_some(context)
            self.watcher.look_soon()

    def drop_the_rest(self) -> None:
        """Forget those jobs that are not in the queue yet."""
        self.submissions.drop()
        self.watcher.refresh_library()
        redraw()

    def is_made(self, request: JobRequest) -> bool:
        """Whether this Blender has asked for the very same already, and has got it, or is about to."""
        same = self.submissions.asked.get(repr(request))
        return same is not None and (self.state_of(same.name) or same.state) not in (events.CANCELLED, events.FAILED)

    def start_preview_2d(self, context: bpy.types.Context, request: JobRequest) -> None:
        """Let the 2D model show what it makes of a prompt.

        Raises:
            EngineError: the request is not valid, or the folder cannot be made.
        """
        self.close_preview_2d(context)
        desk = self.desks.desk(context)
        desk.use(preferences.engine(context))
        self.display.show_preview_2d(desk.sample(request))
        self.watcher.look_soon()

    def close_preview_2d(self, context: bpy.types.Context) -> None:
        """Show no 2D preview any more, and stop it where it is under way; raises StorageError."""
        job = self.display.preview_2d
        if job is not None and not job.is_over:
            self.desks.of(context, job).cancel(job)
        self.display.preview_2d = None
        redraw()

    def resume(self, context: bpy.types.Context, stopped: Job) -> None:
        """Let a job that is over go on.

        Raises:
            EngineError: the job's folder cannot be written, or has links in it.
        """
        stopped.folder.refuse_links()
        desk = self.desks.of(context, stopped)
        desk.use(preferences.engine(context))
        self.arrivals.expect_again(context, stopped)
        desk.resume(stopped)
        self.watcher.look_soon()
        self.watcher.refresh_library()

    def run_here(self, context: bpy.types.Context, waiting: Job) -> None:
        """Let a job that waits from elsewhere have its turn on this machine.

        Raises:
            EngineError: the job's folder cannot be written, or has links in it.
        """
        waiting.folder.refuse_links()
        desk = self.desks.desk(context)
        desk.use(preferences.engine(context))
        self.arrivals.expect_again(context, waiting)
        desk.run_here(waiting)
        self.watcher.look_soon()
        self.watcher.refresh_library()

    def cancel(self, context: bpy.types.Context, stopped: Job) -> None:
        """Stop a job, or take it from the queue; raises StorageError."""
        self.desks.of(context, stopped).cancel(stopped)
        if stopped.is_over:
            self.watcher.hear(stopped)
            self.watcher.refresh_library()
        redraw()

    def cancel_waiting(self) -> None:
        """Take all jobs from the queue that no engine is at; raises StorageError."""
        self.submissions.drop()
        withdrawn = [job for each in self.desks.all() for job in each.cancel_waiting()]
        self.watcher.withdraw(withdrawn)
        self.watcher.look_soon()
        redraw()

    def pause(self, context: bpy.types.Context, stopped: Job) -> None:
        """Stop a job for now, and free the engine's memory; raises StorageError."""
        self.desks.of(context, stopped).pause(stopped)
        redraw()

    def move(self, context: bpy.types.Context, waiting: Job, by: int) -> None:
        """Let a waiting job have its turn earlier (−1) or later (1); raises StorageError."""
        with storage_errors(waiting.folder.path):
            self.desks.of(context, waiting).queue.move(waiting.name, by)
        self.watcher.look_soon()

    def go_on(self) -> None:
        """Let engines take jobs again that were held, or could not be started; raises StorageError."""
        for each in self.desks.all():
            if each.is_held or each.trouble:
                each.go_on()
        self.watcher.look_soon()

    def try_again(self) -> None:
        """Something was done for the engine: jobs that wait for one may find it now."""
        for each in self.desks.all():
            if each.trouble:
                each.try_again()
                self.watcher.look_soon()

    def set_live(self, live: bool) -> None:
        """Show the jobs that are not over as they grow, or no more."""
        try:
            for each in self.desks.all():
                for watched in each.jobs.values():
                    if self.arrivals.wants(watched.name):
                        set_live(watched, live)
        except EngineError as error:  # asked for by a property, which cannot report
            self.display.complain(str(error))

    def dismiss(self) -> None:
        """Show no job any more; its folder stays, and it is not offered again."""
        job = self.display.job
        if job is not None:
            self.arrivals.dismiss(job.name, job.folder)
        self.display.show_nothing()
        self.display.complaint = ""
        self.watcher.refresh_library()
        redraw()

    def delete(self, context: bpy.types.Context, doomed: Job) -> None:
        """Remove a job from the disk, and from everywhere else; raises StorageError."""
        where = self.desks.of(context, doomed)
        if doomed.name in where.jobs:
            where.cancel(where.jobs[doomed.name])
            where.jobs.pop(doomed.name, None)
        self.submissions.asked.pop(repr(doomed.request), None)
        if self.display.job is not None and self.display.job.name == doomed.name:
            self.display.show_nothing()
        self._delete_folder(where.results, doomed.name)

    def delete_damaged(self, context: bpy.types.Context, name: str) -> None:
        """Remove a folder of the list that no job can be read from; raises StorageError."""
        self._delete_folder(self.desks.desk(context).results, name)

    def find(self, context: bpy.types.Context, name: str) -> Job | None:
        """The job of this name, watched or not; None where there is none, or its folder is damaged."""
        self.desks.desk(context)
        shown = self.display.job
        if (watched := self.desks.watched(name)) is not None:
            return watched
        return shown if shown is not None and shown.name == name else self.desks.read(context, name)

    def state_of(self, name: str) -> str:
        """One of `events.STATES`, as far as is known; empty where nothing is."""
        watched, shown = self.desks.watched(name), self.display.job
        if watched is not None:
            return watched.state
        if shown is not None and shown.name == name:
            return shown.state
        known = self.desks.entry(name)
        return known.state if known is not None else ""

    def results_were_changed(self, context: bpy.types.Context) -> None:
        """The preferences name another results folder: show its jobs, and go on watching those of the former one."""
        if not bpy.app.background:
            self.desks.desk(context)
            self.watcher.refresh_library()

    def engine_was_changed(self) -> None:
        """The preferences name another Python for the engine: ask it."""
        if not bpy.app.background:
            self.engine_setup.glance()

    def model_was_changed(self, context: bpy.types.Context) -> None:
        """The scene's settings name another model: look what it is."""
        if not bpy.app.background:
            self.models.refresh(context)

    def _delete_folder(self, results: Path, name: str) -> None:
        library = self.desks.library
        assert library is not None
        shelf = library if library.results == results else Library(results)
        with storage_errors(results):
            shelf.delete(name)
        self.arrivals.forget(name)
        self.display.pictures.forget_thumbnail(name)
        job_list.fill(library.entries)
        redraw()

    def _another_file_was_opened(self, *_: object) -> None:
        """It brings another window manager, in which there is no list."""
        self.watcher.refresh_library()
