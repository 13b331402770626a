"""Blender's timers, which call a function in a while, and again as long as it answers with seconds."""

from __future__ import annotations

from collections.abc import Callable

import bpy


class Timer:
    """One function that Blender's timers call; in the background they do not fire.

    Blender knows a timer by its function, and a method is another object each time it is asked for: here it is one.
    """

    def __init__(self, function: Callable[[], float | None]) -> None:
        self._function = function

    @property
    def is_running(self) -> bool:
        return bpy.app.timers.is_registered(self._function)

    def start(self, seconds: float, *, persistent: bool = True) -> None:
        """Call the function after so many seconds, unless it is to be called anyway.

        Args:
            persistent: whether it is called after another file was opened, too.
        """
        if not self.is_running:
            bpy.app.timers.register(self._function, first_interval=seconds, persistent=persistent)

    def stop(self) -> None:
        if self.is_running:
            bpy.app.timers.unregister(self._function)
