"""What the panel shows besides settings: a job with its pictures, a 2D preview, and complaints."""

from __future__ import annotations

from ..jobs import inspection
from ..jobs.job import Job
from ..sdi_engine.contract import events
from .announcement import Announcement
from .pictures import Pictures
from .redraw import redraw


class Display:
    """Attributes:
    job: the job that the engine works on, or the last one that it did.
    preview_2d: the job of the latest 2D preview.
    complaint: why the person's last action was refused, as one sentence.
    """

    def __init__(self) -> None:
        self.job: Job | None = None
        self.preview_2d: Job | None = None
        self.complaint = ""
        self.announcement = Announcement()
        self.pictures = Pictures()
        self._shown_step: tuple[str, int] | None = None

    def complain(self, sentence: str) -> None:
        """Show why something was refused, in the panel."""
        self.complaint = sentence
        redraw()

    def show(self, job: Job) -> None:
        """Show this job in the panel."""
        self.job = job
        self._show_pictures(job)

    def show_if_idle(self, job: Job) -> None:
        """Show a new job, if the shown one is over."""
        if self.job is None or self.job.is_over:
            self.show(job)

    def show_nothing(self) -> None:
        """Show no job."""
        self.job = None
        self.pictures.forget_current()

    def show_preview_2d(self, job: Job) -> None:
        """Show this job as the latest 2D preview."""
        self.preview_2d = job
        self.pictures.show_samples([])

    def hear(self, changed: Job, *, is_current: bool) -> None:
        """Update what is shown after a job has changed; `is_current`: whether an engine works on it."""
        if is_current or self.job is None or (self.job.is_over and changed.state != events.CANCELLED):
            self.job = changed
        if changed is self.job:
            self._show_pictures(changed)
        if changed.is_over:
            self.pictures.forget_thumbnail(changed.name)
            self.announcement.tell(changed)

    def hear_of_preview_2d(self) -> None:
        """Update what is shown after the 2D preview's job has changed."""
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
