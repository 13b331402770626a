"""What the panel shows besides settings: a job with its pictures, a 2D preview, why something was refused."""

from __future__ import annotations

from ..jobs import inspection
from ..jobs.job import Job
from ..sdi_engine.contract import events
from .announcement import Announcement
from .pictures import Pictures
from .redraw import redraw


class Display:
    """Attributes:
    job: the one that the engine is at, or the last that was.
    preview_2d: the job of the latest 2D preview.
    complaint: why what the person wanted last was refused: one sentence.
    """

    def __init__(self) -> None:
        self.job: Job | None = None
        self.preview_2d: Job | None = None
        self.complaint = ""
        self.announcement = Announcement()
        self.pictures = Pictures()
        self._shown_step: tuple[str, int] | None = None

    def complain(self, sentence: str) -> None:
        """Let the panel show why something was refused."""
        self.complaint = sentence
        redraw()

    def show(self, job: Job) -> None:
        """Let this be the job that the panel shows."""
        self.job = job
        self._show_pictures(job)

    def show_if_idle(self, job: Job) -> None:
        """Show a new job, unless the one shown is not over."""
        if self.job is None or self.job.is_over:
            self.show(job)

    def show_nothing(self) -> None:
        """Show no job any more."""
        self.job = None
        self.pictures.forget_current()

    def show_preview_2d(self, job: Job) -> None:
        """Let this be the latest 2D preview."""
        self.preview_2d = job
        self.pictures.show_samples([])

    def hear(self, changed: Job, *, is_current: bool) -> None:
        """There is news of a job; `is_current`: an engine is at it."""
        if is_current or self.job is None or (self.job.is_over and changed.state != events.CANCELLED):
            self.job = changed
        if changed is self.job:
            self._show_pictures(changed)
        if changed.is_over:
            self.pictures.forget_thumbnail(changed.name)
            self.announcement.tell(changed)

    def hear_of_preview_2d(self) -> None:
        """There is news of the latest 2D preview."""
        job = self.preview_2d
        if job is not None and job.state == events.DONE:
            self.pictures.show_samples(inspection.samples_in(job.folder.path, job.folder.result()))

    def _show_pictures(self, shown: Job) -> None:
        if shown.preview is None:
            if self._shown_step is not None and self._shown_step[0] != shown.name:
                self.pictures.forget_current()
                self._shown_step = None
            return
        step = (shown.name, shown.preview.step)
        if step != self._shown_step:
            folder = shown.folder
            preview = folder.path / shown.preview.file
            self.pictures.show_current(preview, inspection.sides_in(folder.turntable_folder))
            self._shown_step = step
