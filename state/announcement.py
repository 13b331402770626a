"""Announces a job that has just ended: in the status bar for a while, and by a system notification."""

from __future__ import annotations

import time

import bpy

from ..jobs import notify
from ..jobs.job import Job
from ..jobs.library import seconds_of
from ..jobs.words import duration, shortened
from ..sdi_engine.contract import events
from ..sdi_engine.system.untrusted import printable
from . import preferences

SECONDS = 20.0

_LONGEST_PROMPT = 60
"""So that it leaves the status bar room for the rest."""


class Announcement:
    """The latest announcement."""

    def __init__(self) -> None:
        self._sentence = ""
        self._since = float("-inf")

    @property
    def sentence(self) -> str:
        """The announcement in words; empty if there is none, or it is older than `SECONDS`."""
        return self._sentence if time.monotonic() - self._since < SECONDS else ""

    def tell(self, ended: Job) -> None:
        """Announce that a job is done, or has failed."""
        seconds = seconds_of(ended.folder.result())
        took = f" ({duration(seconds)})" if seconds is not None else ""
        prompt = shortened(ended.request.prompt, _LONGEST_PROMPT)
        sentence = {
            events.DONE: f"“{prompt}” is ready{took}",
            events.FAILED: f"“{prompt}” has failed",
        }.get(ended.state)
        if sentence is None:
            return
        self._sentence, self._since = sentence, time.monotonic()
        if preferences.of(bpy.context).notify and not bpy.app.background:
            notify.notify(printable(sentence))
