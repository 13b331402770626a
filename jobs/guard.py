"""One bad thing stays one bad thing: what goes wrong with it is logged, once, and all else goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_told: set[str] = set()


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Let an unexpected error in this block end nothing but the block; `what` it is about, for the log.

    For what is done for one of many, by a timer above all: Blender drops a timer that ends with an error for good.
    """
    try:
        yield
    except Exception:
        if what not in _told:
            _told.add(what)
            log.exception("%s: an unexpected error; all else goes on", what)
