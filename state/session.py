"""The extension's session: what a person can do with jobs, and the parts that do it.

The parts do not know the session; each knows only parts before it:

desks            the runners of results folders
display          what the panel shows
arrivals         imports results into the scene
whereabouts      tells where a result is
submissions      puts jobs into the queue
models           the models on this computer
watcher          polls the jobs by a timer
engine_setup     the engine's Python and environment
clicks           tells double clicks
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import bpy

from ..jobs.job import Job
from ..jobs.library import Library
from ..jobs.placement import Placement, Target
from ..scene import assets
from ..scene.handlers import Handlers
from ..scene.undo import UndoGuard
from ..sdi_engine.contract import events
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import EngineError
from . import job_list, preferences
from .arrivals import Arrivals
from .clicks import Clicks
from .desks import Desks
from .display import Display
from .engine_setup import EngineSetup
from .model_list import ModelList
from .redraw import redraw
from .submissions import SourceMesh, Submissions, set_live
from .watcher import Watcher
from .whereabouts import Whereabouts


class Session:
    """The session from the enabling of the extension until it is disabled; `current` holds it."""

    def __init__(self) -> None:
        self.desks = Desks()
        self.display = Display()
        self.arrivals = Arrivals()
        self.whereabouts = Whereabouts(self.arrivals)
        self.submissions = Submissions(self.arrivals)
        self.models = ModelList()
        self.watcher = Watcher(self.desks, self.display, self.arrivals, self.submissions, self.models)
        self.engine_setup = EngineSetup(self.desks, self.try_again)
        self.clicks = Clicks()
        self._undo_guard = UndoGuard()
        of = bpy.app.handlers
        appended = getattr(of, "blend_import_post", None)  # which 4.2 does not have
        self._handlers = Handlers(
            (of.load_post, self._another_file_was_opened),
            (of.save_post, self._file_may_have_another_path),
            *([(appended, self.something_was_appended)] if appended is not None else []),
        )
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
        """Called when the extension is disabled: the engine continues its jobs, but they are no longer watched."""
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
        self,
        context: bpy.types.Context,
        requests: Sequence[JobRequest],
        where: Iterable[Placement],
        live: bool,
        sources: Iterable[SourceMesh] | None = None,
    ) -> None:
        """Queue jobs and watch them; with `live`, show them in the scene as they grow.

        Args:
            context: for preferences and scene.
            requests: one for each job.
            where: the placements of the results, one for each request.
            live: whether the engine saves live meshes.
            sources: the meshes of jobs that make textures, one for each request.

        Raises:
            EngineError: a request is not valid, or a job's folder cannot be made.
        """
        desk = self.desks.desk(context)
        desk.use(preferences.engine(context))
        self.submissions.ask(desk, requests, where, live, sources)
        self.watcher.add_some(context)
        self.watcher.poll_soon()
        if not self.submissions.has_more:
            self.watcher.refresh_library()

    def add_the_rest(self, context: bpy.types.Context) -> None:
        """Try again to queue the jobs that could not be written; raises EngineError."""
        if self.submissions.has_more:
            self.watcher.add_some(context)
            self.watcher.poll_soon()

    def drop_the_rest(self) -> None:
        """Forget the jobs that are not in the queue yet."""
        self.submissions.drop()
        self.watcher.refresh_library()
        redraw()

    def is_made(self, request: JobRequest, target: Target | None = None) -> bool:
        """Whether this Blender has submitted the same request, for the same object if it is a texture, before.

        Those that were cancelled or have failed do not count.
        """
        same = self.submissions.asked(request, target)
        return same is not None and (self.state_of(same.name) or same.state) not in (events.CANCELLED, events.FAILED)

    def start_preview_2d(self, context: bpy.types.Context, request: JobRequest) -> None:
        """Start a 2D preview of a request.

        Raises:
            EngineError: the request is not valid, or the folder cannot be made.
        """
        with suppress(EngineError):  # the drive of the one before is away
            self.close_preview_2d(context)
        desk = self.desks.desk(context)
        desk.use(preferences.engine(context))
        self.display.show_preview_2d(desk.sample(request))
        self.watcher.poll_soon()

    def close_preview_2d(self, context: bpy.types.Context) -> None:
        """Stop showing the 2D preview, and cancel it if it is still running; raises StorageError."""
        job, self.display.preview_2d = self.display.preview_2d, None
        redraw()
        if job is not None and not job.is_over:
            self.desks.of(context, job).cancel(job)

    def resume(self, context: bpy.types.Context, stopped: Job) -> None:
        """Resume a job that was stopped or has failed.

        Raises:
            EngineError: the job's folder cannot be written, or contains links, or an engine is at the job already.
        """
        stopped.folder.refuse_links()
        try:
            stopped.refuse_at_work()
        except EngineError:
            self.watcher.refresh_library()  # to show it as it is
            raise
        desk = self.desks.of(context, stopped)
        desk.use(preferences.engine(context))
        self.arrivals.expect_again(context, stopped)
        desk.resume(stopped)
        self.watcher.poll_soon()
        self.watcher.refresh_library()

    def run_here(self, context: bpy.types.Context, waiting: Job) -> None:
        """Queue a job on this machine that was queued from elsewhere.

        Raises:
            EngineError: the job's folder cannot be written, or contains links.
        """
        waiting.folder.refuse_links()
        desk = self.desks.desk(context)
        desk.use(preferences.engine(context))
        self.arrivals.expect_again(context, waiting)
        desk.run_here(waiting)
        self.watcher.poll_soon()
        self.watcher.refresh_library()

    def cancel(self, context: bpy.types.Context, stopped: Job) -> None:
        """Stop a job, or remove it from the queue; raises StorageError."""
        self.desks.of(context, stopped).cancel(stopped)
        self._note_if_over(stopped)
        redraw()

    def cancel_waiting(self) -> None:
        """Remove all jobs from the queue that no engine has taken; raises StorageError."""
        self.submissions.drop()
        withdrawn: list[Job] = []
        try:
            for each in self.desks.all():
                for job in each.cancel_waiting():
                    withdrawn.append(job)  # also those before an error
        finally:
            self.watcher.withdraw(withdrawn)
            self.watcher.poll_soon()
            redraw()

    def pause(self, context: bpy.types.Context, stopped: Job) -> None:
        """Pause a job, and free the engine's memory if it works on no other; raises StorageError."""
        self.desks.of(context, stopped).pause(stopped)
        self._note_if_over(stopped)
        redraw()

    def move(self, context: bpy.types.Context, waiting: Job, by: int) -> None:
        """Move a waiting job one place forward (−1) or back (1) in the queue; raises StorageError."""
        with storage_errors(waiting.folder.path):
            self.desks.of(context, waiting).queue.move(waiting.name, by)
        self.watcher.poll_soon()

    def go_on(self) -> None:
        """Let paused engines take jobs again, and retry those that could not be started; raises StorageError."""
        for each in self.desks.all():
            if each.is_held or each.trouble:
                each.go_on()
        self.watcher.poll_soon()

    def try_again(self) -> None:
        """Retry engines that could not be started, since the engine's set-up has changed."""
        for each in self.desks.all():
            if each.trouble:
                each.try_again()
                self.watcher.poll_soon()

    def set_live(self, live: bool) -> None:
        """Switch the live meshes of unfinished jobs on or off."""
        try:
            for each in self.desks.all():
                for watched in each.jobs.values():
                    if self.arrivals.wants(watched.name):
                        set_live(watched, live)
                    if not live:
                        self.arrivals.hide_overlay(watched.name)
        except EngineError as error:  # a property's update function cannot report it
            self.display.complain(str(error))

    def dismiss(self) -> None:
        """Stop showing the current job; its folder stays, but it is not offered again."""
        job = self.display.job
        if job is not None:
            self.arrivals.dismiss(job.name, job.folder)
        self.display.show_nothing()
        self.display.complaint = ""
        self.watcher.refresh_library()
        redraw()

    def delete(self, context: bpy.types.Context, doomed: Job) -> None:
        """Delete a job from the disk, the queue and the scene's markers; raises StorageError."""
        where = self.desks.of(context, doomed)
        is_gone = doomed.is_gone
        if doomed.name in where.jobs:
            if not is_gone:  # or nobody can be told
                where.cancel(where.jobs[doomed.name])
            where.jobs.pop(doomed.name, None)
        self.submissions.forget(doomed.name)
        if self.display.job is not None and self.display.job.name == doomed.name:
            self.display.show_nothing()
        self._delete_folder(where.results, doomed.name, is_gone=is_gone)

    def delete_damaged(self, context: bpy.types.Context, name: str) -> None:
        """Delete a folder of the list whose job cannot be read; raises StorageError."""
        self._delete_folder(self.desks.desk(context).results, name)

    def find(self, context: bpy.types.Context, name: str) -> Job | None:
        """The job of this name, watched or not; None if there is none or its folder is damaged."""
        self.desks.desk(context)
        shown = self.display.job
        if (watched := self.desks.watched(name)) is not None:
            return watched
        return shown if shown is not None and shown.name == name else self.desks.read(context, name)

    def state_of(self, name: str) -> str:
        """The job's state, one of `events.STATES`; empty if it is not known."""
        watched, shown = self.desks.watched(name), self.display.job
        if watched is not None:
            return watched.state
        if shown is not None and shown.name == name:
            return shown.state
        known = self.desks.entry(name)
        return known.state if known is not None else ""

    def results_were_changed(self, context: bpy.types.Context) -> None:
        """The results folder in the preferences has changed: show its jobs, and keep watching those of the former."""
        if not bpy.app.background:
            self.desks.desk(context)
            self.watcher.refresh_library()

    def engine_was_changed(self) -> None:
        """The engine's Python in the preferences has changed: examine it."""
        if not bpy.app.background:
            self.engine_setup.glance()

    def model_was_changed(self, context: bpy.types.Context) -> None:
        """The model in the scene's settings has changed: examine it."""
        if not bpy.app.background:
            self.models.refresh(context)

    def _note_if_over(self, stopped: Job) -> None:
        """Show the end of a job that ended at once, since no engine had taken it."""
        if stopped.is_over:
            self.watcher.hear(stopped)
            self.watcher.refresh_library()

    def _delete_folder(self, results: Path, name: str, *, is_gone: bool = False) -> None:
        """Delete a job's folder, unless the person has deleted it already (`is_gone`), and all that shows the job."""
        library = self.desks.library
        assert library is not None
        shelf = library if library.results == results else Library(results)
        if is_gone:
            shelf.forget(name)
        else:
            with storage_errors(results):
                shelf.delete(name)
        self.arrivals.forget(name)
        self.display.pictures.forget_thumbnail(name)
        job_list.fill(library.entries)
        redraw()

    def _another_file_was_opened(self, *_: object) -> None:
        """Fill the list again: another file has another window manager, whose list is empty.

        A results folder beside the .blend file (//) is another one, too.
        """
        if self.desks.runner is not None:
            self.results_were_changed(bpy.context)

    def something_was_appended(self, *_: object) -> None:
        """Blender has appended, or linked, data from another file."""
        if self.arrivals.take_over_appended():
            self.watcher.refresh_library()

    def _file_may_have_another_path(self, *_: object) -> None:
        """After the first save or a Save As a results folder beside the .blend file (//) is another one."""
        runner = self.desks.runner
        if runner is not None and runner.results != preferences.results_folder(bpy.context):
            self.results_were_changed(bpy.context)
