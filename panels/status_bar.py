"""The current job's progress in Blender's status bar, visible without the sidebar."""

from __future__ import annotations

import bpy

from ..jobs import words
from ..state.current import session

WIDTH = 15.0
"""Width of the progress bar, in Blender's UI units (about a button's height)."""

_LONGEST_PROMPT = 20


def attach() -> None:
    """Called when the extension is enabled."""
    bpy.types.STATUSBAR_HT_header.append(_draw)


def detach() -> None:
    """Called when the extension is disabled."""
    bpy.types.STATUSBAR_HT_header.remove(_draw)


def _draw(self: bpy.types.Header, context: bpy.types.Context) -> None:
    job = session().desks.current()
    prompt = words.shortened(job.request.prompt, _LONGEST_PROMPT) if job is not None else ""
    if job is not None and job.progress is not None:
        row = self.layout.row()
        row.ui_units_x = WIDTH
        text = f"{prompt}: {words.phase_and_steps(job.progress)}"
        row.progress(text=text, factor=job.progress.share)
    elif job is not None:
        self.layout.label(text=f"{prompt}: {words.before_any_news(job.state, False)}", icon="SHADERFX")
    elif sentence := session().display.announcement.sentence:
        self.layout.label(text=sentence, icon="SHADERFX")
