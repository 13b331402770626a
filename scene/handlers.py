"""What Blender calls when something happens to the file, such as after an undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy


class Handlers:
    """Calls that Blender makes from `begin` to `end`, whichever file is opened meanwhile.

    Args:
        wanted: pairs of a list in `bpy.app.handlers`, and what to call with the arguments that Blender gives.
    """

    def __init__(self, *wanted: tuple[list[Any], Callable[..., None]]) -> None:
        self._handlers = [(event, _persistent(call)) for event, call in wanted]

    def begin(self) -> None:
        for event, handler in self._handlers:
            event.append(handler)

    def end(self) -> None:
        for event, handler in self._handlers:
            if handler in event:
                event.remove(handler)


def _persistent(call: Callable[..., None]) -> Callable[..., None]:
    @bpy.app.handlers.persistent  # which not every Blender takes from a method
    def handler(*arguments: object) -> None:
        call(*arguments)

    return handler
