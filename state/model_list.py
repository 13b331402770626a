"""The models on this computer, as the last scan found them, and the timer that waits for the next one.

Nobody waits for the disk: a thread looks, and what is drawn is what is known.
"""

from __future__ import annotations

import time
from pathlib import Path

import bpy

from ..jobs.models import Model, Models, Scan, size_words
from ..sdi_engine.contract import vocabulary
from ..sdi_engine.contract.request import STARTER_MODEL
from ..sdi_engine.system.pasted import as_meant
from . import preferences, properties
from .redraw import redraw

FIRST_SECONDS = 1.5
TICK_SECONDS = 0.2
OLD_SECONDS = 20.0

models = Models()
"""What is known."""

_scan: Scan | None = None
_again = False
_looked = 0.0


def begin() -> None:
    """Called when the extension is enabled."""
    if not bpy.app.background:
        bpy.app.timers.register(_first, first_interval=FIRST_SECONDS, persistent=True)


def end() -> None:
    """Called when the extension is disabled."""
    global _scan, _again, _looked, models
    for timer in (_first, _tick):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    if _scan is not None:
        _scan.stop()
    _scan, _again, _looked, models = None, False, 0.0, Models()


def refresh(context: bpy.types.Context) -> Scan:
    """Look again, in a thread; where one looks already, once more after it."""
    global _scan, _again, _looked
    if _scan is not None and not _scan.is_over:
        _again = True
        return _scan
    _again, _looked = False, time.monotonic()
    _scan = Scan(model_folder(context), preferences.results_folder(context), _chosen())
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=TICK_SECONDS, persistent=True)
    return _scan


def refresh_if_old(context: bpy.types.Context) -> None:
    """Look again if the last look was a while ago: something may have been downloaded since."""
    if time.monotonic() - _looked > OLD_SECONDS:
        refresh(context)


def take() -> bool:
    """Take over what a scan that is over has found; whether there was one."""
    global models, _scan
    if _scan is None or not _scan.is_over:
        return False
    models, _scan = _scan.models or models, None
    return True


def is_refused(model: str) -> bool:
    """Whether a model, by what goes into a request, is known to be unusable."""
    return isinstance(models.known.get(model), str)


def about(model: str) -> str:
    """One line of what is known about a model; "" where that is nothing."""
    found = models.known.get(model)
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


def vocabulary_of(model: str) -> vocabulary.Knows:
    """The words of a model of a small vocabulary, by kind; empty for others, and where nothing is known yet."""
    found = models.known.get(model)
    return found.knows if isinstance(found, Model) else {}


def left_out(model: str, prompt: str) -> str:
    """A sentence on words of the prompt that a model of a small vocabulary leaves out; "" where none are known of."""
    return vocabulary.left_out(prompt, vocabulary_of(model))


def remember(model: str, found: Model) -> None:
    """Know about a model before the next scan does."""
    models.known[model] = found


def model_folder(context: bpy.types.Context) -> Path | None:
    """The person's own folder of models; None where none is set."""
    chosen = as_meant(getattr(preferences.of(context), "model_folder", ""))
    return Path(bpy.path.abspath(chosen)) if chosen else None


def _chosen() -> list[str]:
    return [properties.model_of(scene.sdi) for scene in bpy.data.scenes]


def _first() -> None:
    refresh(bpy.context)


def _tick() -> float | None:
    if not take():
        return TICK_SECONDS if _scan is not None else None
    redraw()
    if _again:
        refresh(bpy.context)
        return TICK_SECONDS
    return None
