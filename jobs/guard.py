"""One bad thing stays one bad thing: what goes wrong with it is logged, once, and everything else goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class Guard:
    """Blocks of code whose unexpected errors end nothing but the block.

    For what is done for one of many, by a timer above all: Blender drops a timer that ends with an error for good.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Guard a block; `what` it is about, for the log, in which each is told of once."""
        try:
            yield
        except Exception:
            if what not in self._told:
                self._told.add(what)
                log.exception("%s: an unexpected error; everything else goes on", what)
