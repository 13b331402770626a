"""A person is heard in the middle of long work: who listens says what is to be done then, who works says when.

What works for long on arrays or in another process knows no job, and its callers need not pass anything on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listening: ContextVar[Callable[[], None] | None] = ContextVar("listening", default=None)


@contextmanager
def at_occasions(look: Callable[[], None]) -> Iterator[None]:
    """Have `look` called at every `occasion` in this block, in this thread; what it raises ends the work."""
    before = _listening.set(look)
    try:
        yield
    finally:
        _listening.reset(before)


def occasion() -> None:
    """Between two parts of long work, which is given up where this raises: nothing of it may be half done then."""
    look = _listening.get()
    if look is not None:
        look()
