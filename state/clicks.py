"""Tells a double click on a button: who is used to double clicks would wait for two objects."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Clicks:
    """When each button was last pressed.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pressed: dict[str, float] = {}

    def is_second(self, button: str, within_seconds: float) -> bool:
        """Whether a press of a button, which is now, is the second click of a double click."""
        now = self._clock()
        before, self._pressed[button] = self._pressed.get(button, -math.inf), now
        return now - before < within_seconds
