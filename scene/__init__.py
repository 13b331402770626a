"""Results into the scene."""

from __future__ import annotations

from . import assets, undoing


def begin() -> None:
    """Called when the extension is enabled."""
    assets.begin()
    undoing.begin()


def end() -> None:
    """Called when the extension is disabled."""
    undoing.end()
    assets.end()
