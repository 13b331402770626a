"""Blender's timers, which call a function after some seconds, and again as long as it returns a number of seconds."""

from __future__ import annotations

from collections.abc import Callable

import bpy


class Timer:
    """One function that Blender's timers call; in the background they do not fire.

    Blender identifies a timer by its function, and every access to a method makes another object: here one is kept.
    """

    def __init__(self, function: Callable[[], float | None]) -> None:
        self._function = function

    @property
    def is_running(self) -> bool:
        """Whether the function will be called."""
        return bpy.app.timers.is_registered(self._function)

    def start(self, seconds: float, *, persistent: bool = True) -> None:
        """Call the function after some seconds, unless the timer runs already.

        Args:
            seconds: until the first call.
            persistent: whether the timer goes on after another file is opened.
        """
        if not self.is_running:
            bpy.app.timers.register(self._function, first_interval=seconds, persistent=persistent)

    def stop(self) -> None:
        """Call the function no more."""
        if self.is_running:
            bpy.app.timers.unregister(self._function)
