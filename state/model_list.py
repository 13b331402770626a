"""The models on this computer, as the last scan found them, and the timer that polls the next scan.

A thread scans the disk, and panels draw the last result, so Blender never waits for the disk.
"""

from __future__ import annotations

import time
from functools import partial

import bpy

from ..jobs import words
from ..jobs.models import Model, Models, Scan, Seen, completed, find_models, size_words, with_parts
from ..sdi_engine.config.parameters import STARTER_MODEL, Parameters
from ..sdi_engine.contract import speeds, vocabulary
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.errors import BadInputError, EngineError
from . import preferences, properties
from .redraw import redraw
from .timer import Timer

FIRST_SECONDS = 1.5
TICK_SECONDS = 0.2
OLD_SECONDS = 20.0

_PATIENCE_SECONDS = 1.0
"""How long a click waits for a scan, which has only what is new to open."""


class ModelList:
    """Attributes:
    found: the result of the last scan.
    """

    def __init__(self) -> None:
        self.found = Models()
        self._scan: Scan | None = None
        self._seen = Seen()
        self._again = False
        self._scanned_at = 0.0
        self._first = Timer(self._scan_first)
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
        """Scan again, in a thread; if a scan is running, another one follows it."""
        if self._scan is not None and not self._scan.is_over:
            self._again = True
            return self._scan
        self._again, self._scanned_at = False, time.monotonic()
        chosen = {properties.model_of(scene.sdi): properties.asked_of(scene).parts for scene in bpy.data.scenes}
        folders = preferences.model_folder(context), preferences.results_folder(context)
        self._scan = Scan(partial(find_models, *folders, chosen, seen=self._seen))
        self._timer.start(TICK_SECONDS)
        return self._scan

    def refresh_if_old(self, context: bpy.types.Context) -> None:
        """Scan again if the last scan is more than `OLD_SECONDS` old: something may have been downloaded since."""
        if time.monotonic() - self._scanned_at > OLD_SECONDS:
            self.refresh(context)

    def take(self) -> bool:
        """Take over the result of a completed scan; returns whether there was one."""
        if self._scan is None or not self._scan.is_over:
            return False
        self.found, self._scan = self._scan.models or self.found, None
        return True

    def tick(self) -> float | None:
        """Take over the result of a completed scan; returns seconds until the next call, None if no scan runs."""
        if not self.take():
            return TICK_SECONDS if self._scan is not None else None
        redraw()
        if self._again:
            self.refresh(bpy.context)
            return TICK_SECONDS
        return None

    def is_refused(self, model: str) -> bool:
        """Whether a model, by its name in a request, is known to be unusable."""
        return isinstance(self.found.known.get(model), str)

    def about(self, model: str) -> str:
        """One line about a model; empty if nothing is known about it."""
        found = self.found.known.get(model)
        if found is None or isinstance(found, str):
            return found or ""
        if model == STARTER_MODEL:
            return f"Built in · {size_words(found.size)}"
        if found.is_here:
            name = found.name if found.name != model else ""  # the field may show only the beginning of a path
            about = (name, found.kind, f"{size_words(found.size)} on disk", found.with_parts)
            return " · ".join(filter(None, about))
        if bpy.app.online_access:
            return "Will be downloaded when you press Generate"
        return "Not on this computer, and online access is off (Preferences, System)"

    def trouble_with(self, model: str) -> str:
        """Why a model cannot be used yet, such as a part that it lacks; "" where nothing is known to be wrong."""
        found = self.found.known.get(model)
        return found.trouble if isinstance(found, Model) else ""

    def needs(self, model: str, asked: Parameters, device: str, memory: int) -> str:
        """What a run with a model needs of a device with so many bytes, and what is done for it; "" if unknown."""
        found = self.found.known.get(model)
        return found.needs(asked, device, memory) if isinstance(found, Model) else ""

    def time_for(self, scene: bpy.types.Scene) -> str:
        """A few words on what an object will take on this machine; empty if none of its kind was made here."""
        if not self.found.speeds:
            return ""
        try:
            asked = properties.request_from(scene, prompt="anything")
            seconds = speeds.seconds_of(asked, self.found.speeds)
        except BadInputError:  # the operator says why
            return ""
        return "" if seconds is None else f"{words.about(seconds)} on this machine"

    def label_of(self, model: str, otherwise: str) -> str:
        """A model's name and size; `otherwise` if it is not known."""
        found = self.found.known.get(model)
        return found.label if isinstance(found, Model) else otherwise

    def vocabulary_of(self, model: str) -> vocabulary.Knows:
        """The vocabulary of a model with a small one, by kind of word; empty for other and unknown models."""
        found = self.found.known.get(model)
        return found.knows if isinstance(found, Model) else {}

    def unknown_words(self, model: str, prompt: str) -> str:
        """A sentence about words of the prompt that are not in the model's small vocabulary; empty without any."""
        return vocabulary.about_unknown_words(prompt, self.vocabulary_of(model))

    def remember(self, model: str, found: Model) -> None:
        """Add a model that was examined separately, before the next scan finds it."""
        if found.takes_parts:
            found = with_parts(found, self.found.pieces)
        self.found.known[model] = found

    def completed(self, request: JobRequest) -> JobRequest:
        """A request with the text encoders and the VAE that its model lacks, of those in the person's model folder.

        Raises:
            EngineError: something is missing, does not belong to the model, or is one of several that might.
        """
        try:
            return completed(request, self.found.pieces)
        except EngineError as error:
            if self._scan is None and time.monotonic() - self._scanned_at < OLD_SECONDS:
                raise
            scan = self._scan or self.refresh(bpy.context)
            scan.wait(_PATIENCE_SECONDS)
            if not scan.is_over:
                raise BadInputError(
                    f"{error} (The folder of models is still being searched: try again soon.)"
                ) from error
        self.take()
        return completed(request, self.found.pieces)

    def _scan_first(self) -> None:
        self.refresh(bpy.context)
