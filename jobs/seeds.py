"""Seeds for requests that say the same: so that ten of them make ten objects, and not one ten times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..sdi_engine.config.parameters import MAX_SEED
from ..sdi_engine.contract.request import JobRequest


class UnusedSeeds:
    """Gives requests the next seed with which nothing was made yet.

    Args:
        is_made: whether a request was made already, or is about to be.
    """

    def __init__(self, is_made: Callable[[JobRequest], bool] = lambda request: False) -> None:
        self._is_made = is_made
        self._next: dict[str, int] = {}
        """By what a request says."""

    def give(self, request: JobRequest) -> JobRequest:
        """The request as it is, or with the next seed that neither was made nor given before."""
        key = repr(request)
        first = self._next.get(key, request.seed)
        wanted = dataclasses.replace(request, seed=first)
        while self._is_made(wanted):
            wanted = dataclasses.replace(wanted, seed=_after(wanted.seed))
            if wanted.seed == first:  # all two billion
                break
        self._next[key] = _after(wanted.seed)
        return wanted


def _after(seed: int) -> int:
    return (seed + 1) % (MAX_SEED + 1)
