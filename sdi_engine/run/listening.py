"""A person is heard while something works for long: whatever torch is called for in this thread is an occasion, and so
is every `system.occasions.occasion`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.overrides import TorchFunctionMode

from ..system.occasions import at_occasions
from .attention import LISTEN_SECONDS


@contextmanager
def listening(look: Callable[[], None], clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """Have `look` called every now and then in this block; what it raises ends the block.

    Reading a model takes minutes, inside of libraries, which make errors of their own of what is raised among them: so
    it is asked once more when an error comes out.

    Args:
        look: raises where the person wants something else, such as `JobFolder.stop_if_told`, as often as it is asked.
        clock: seconds.
    """
    look()
    last = clock()

    def look_again() -> None:
        nonlocal last
        now = clock()
        if now - last >= LISTEN_SECONDS:
            last = now
            look()

    try:
        with _Occasions(look_again), at_occasions(look_again):
            yield
    except Exception:
        look()
        raise


class _Occasions(TorchFunctionMode):
    """Looks between two calls of torch's functions: loading a tensor, widening it, checking its numbers."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        self._look()
        return function(*arguments, **(named or {}))
