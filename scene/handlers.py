"""Functions that Blender calls at events such as an undo or the opening of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy


class Handlers:
    """Handlers that are active from `begin` to `end`, also after another file is opened.

    Args:
        wanted: pairs of a list in `bpy.app.handlers` and the function to call with Blender's arguments.
    """

    def __init__(self, *wanted: tuple[list[Any], Callable[..., None]]) -> None:
        self._handlers = [(event, _persistent(call)) for event, call in wanted]

    def begin(self) -> None:
        """Add the handlers to Blender's lists."""
        for event, handler in self._handlers:
            event.append(handler)

    def end(self) -> None:
        """Remove the handlers from Blender's lists."""
        for event, handler in self._handlers:
            if handler in event:
                event.remove(handler)


def _persistent(call: Callable[..., None]) -> Callable[..., None]:
    @bpy.app.handlers.persistent  # a function, since not every Blender accepts a method
    def handler(*arguments: object) -> None:
        call(*arguments)

    return handler
