"""Keeps an unexpected error with one item from stopping the others: it is logged, once, and the rest continues."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class Guard:
    """A context manager in which an unexpected error ends nothing but the block.

    For work on one of many items, above all in a timer: Blender removes a timer whose function raises.
    """

    def __init__(self) -> None:
        self._logged: set[str] = set()

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Guard a block. `what` names its subject in the log, where each subject appears only once."""
        try:
            yield
        except Exception:
            if what not in self._logged:
                self._logged.add(what)
                log.exception("%s: an unexpected error; everything else continues", what)
