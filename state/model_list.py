"""The models on this computer, as the last scan found them, and the timer that waits for the next one.

Nobody waits for the disk: a thread looks, and what is drawn is what is known.
"""

from __future__ import annotations

import time

import bpy

from ..jobs.models import Model, Models, Scan, size_words
from ..sdi_engine.config.parameters import STARTER_MODEL
from ..sdi_engine.contract import vocabulary
from . import preferences, properties
from .redraw import redraw
from .timer import Timer

FIRST_SECONDS = 1.5
TICK_SECONDS = 0.2
OLD_SECONDS = 20.0


class ModelList:
    """Attributes:
    found: what is known.
    """

    def __init__(self) -> None:
        self.found = Models()
        self._scan: Scan | None = None
        self._again = False
        self._scanned_at = 0.0
        self._first = Timer(self._look_first)
        self._timer = Timer(self.tick)

    def begin(self) -> None:
        """Called when the extension is enabled."""
        if not bpy.app.background:
            self._first.start(FIRST_SECONDS)

    def end(self) -> None:
        """Called when the extension is disabled."""
        self._first.stop()
        self._timer.stop()
        if self._scan is not None:
            self._scan.stop()

    def refresh(self, context: bpy.types.Context) -> Scan:
        """Look again, in a thread; where one looks already, once more after it."""
        if self._scan is not None and not self._scan.is_over:
            self._again = True
            return self._scan
        self._again, self._scanned_at = False, time.monotonic()
        chosen = [properties.model_of(scene.sdi) for scene in bpy.data.scenes]
        self._scan = Scan(preferences.model_folder(context), preferences.results_folder(context), chosen)
        self._timer.start(TICK_SECONDS)
        return self._scan

    def refresh_if_old(self, context: bpy.types.Context) -> None:
        """Look again if the last look was a while ago: something may have been downloaded since."""
        if time.monotonic() - self._scanned_at > OLD_SECONDS:
            self.refresh(context)

    def take(self) -> bool:
        """Take over what a scan that is over has found; whether there was one."""
        if self._scan is None or not self._scan.is_over:
            return False
        self.found, self._scan = self._scan.models or self.found, None
        return True

    def tick(self) -> float | None:
        """Take over what was found meanwhile; seconds until the next look, None where no scan is under way."""
        if not self.take():
            return TICK_SECONDS if self._scan is not None else None
        redraw()
        if self._again:
            self.refresh(bpy.context)
            return TICK_SECONDS
        return None

    def is_refused(self, model: str) -> bool:
        """Whether a model, by what goes into a request, is known to be unusable."""
        return isinstance(self.found.known.get(model), str)

    def about(self, model: str) -> str:
        """One line of what is known about a model; "" where that is nothing."""
        found = self.found.known.get(model)
        if found is None or isinstance(found, str):
            return found or ""
        if model == STARTER_MODEL:
            return f"Built in · {size_words(found.size)}"
        if found.is_here:
            name = found.name if found.name != model else ""  # of which the field shows the beginning only
            return " · ".join(filter(None, (name, found.kind, f"{size_words(found.size)} on disk")))
        if bpy.app.online_access:
            return "Will be downloaded when you press Generate"
        return "Not on this computer, and online access is off (Preferences, System)"

    def label_of(self, model: str, otherwise: str) -> str:
        """A model's name and size; `otherwise` where it is not known."""
        found = self.found.known.get(model)
        return found.label if isinstance(found, Model) else otherwise

    def vocabulary_of(self, model: str) -> vocabulary.Knows:
        """The words of a model of a small vocabulary, by kind; empty for others, and where nothing is known yet."""
        found = self.found.known.get(model)
        return found.knows if isinstance(found, Model) else {}

    def unknown_words(self, model: str, prompt: str) -> str:
        """A sentence on words of the prompt that a model of a small vocabulary does not know; "" where none are."""
        return vocabulary.about_unknown_words(prompt, self.vocabulary_of(model))

    def remember(self, model: str, found: Model) -> None:
        """Know about a model before the next scan does."""
        self.found.known[model] = found

    def _look_first(self) -> None:
        self.refresh(bpy.context)
