"""New seeds for repeated requests, so that ten of them make ten objects and not the same one ten times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..sdi_engine.config.parameters import following_seed
from ..sdi_engine.contract.request import JobRequest


class UnusedSeeds:
    """Gives each request the next seed with which it was not made yet.

    Args:
        is_made: whether the object of a request was made already, or is queued.
    """

    def __init__(self, is_made: Callable[[JobRequest], bool] = lambda request: False) -> None:
        self._is_made = is_made
        self._next: dict[str, int] = {}
        """The next seed to try, by the request."""

    def give(self, request: JobRequest) -> JobRequest:
        """The request with its own seed if that is unused, or with the next one that was neither made nor given."""
        key = repr(request)
        first = self._next.get(key, request.seed)
        wanted = dataclasses.replace(request, seed=first)
        while self._is_made(wanted):
            wanted = dataclasses.replace(wanted, seed=following_seed(wanted.seed))
            if wanted.seed == first:  # all two billion
                break
        self._next[key] = following_seed(wanted.seed)
        return wanted
