"""Results into the scene."""

from __future__ import annotations

from . import assets, undo


def begin() -> None:
    """Called when the extension is enabled."""
    assets.begin()
    undo.begin()


def end() -> None:
    """Called when the extension is disabled."""
    undo.end()
    assets.end()
