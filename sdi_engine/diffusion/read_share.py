"""How much of a model's weights has been read, for whoever waits: who reads them counts, who waits is told.

Weights are counted as numbers, one like the other, once they have been looked at or widened: before that nothing of
them need have come from the disk, since files are mapped into memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .header import Header

Tell = Callable[[float], None]
"""Takes the share that has been read, 0…1."""


class Count:
    """What somebody is told who waits for a model.

    Attributes:
        seconds_downloading: how long that has taken, of all the time.
    """

    def __init__(self, tell: Tell, tell_downloaded: Tell) -> None:
        self.tell, self.tell_downloaded = tell, tell_downloaded
        self.expected = self.read = 0
        self.seconds_downloading = 0.0


_waiting: ContextVar[Count | None] = ContextVar("waiting", default=None)


@contextmanager
def told(tell: Tell, tell_downloaded: Tell = lambda share: None) -> Iterator[Count]:
    """Have `tell` called in this block after each tensor of a model that was read.

    Args:
        tell_downloaded: called before that, while the model is downloaded.
    """
    count = Count(tell, tell_downloaded)
    before = _waiting.set(count)
    try:
        yield count
    finally:
        _waiting.reset(before)


def expect(headers: Iterable[Header]) -> None:
    """The weights in these headers are going to be read next, and what was read before counts no more."""
    count = _waiting.get()
    if count is not None:
        count.read = 0
        count.expected = sum(math.prod(entry.shape) for header in headers for entry in header.values())


def count_read(tensor: Tensor | torch.Size) -> None:
    """A tensor of the model, or one of this shape, has been read."""
    count = _waiting.get()
    if count is not None and count.expected:
        count.read += tensor.numel()
        count.tell(min(1.0, count.read / count.expected))


@contextmanager
def downloading() -> Iterator[None]:
    """The model is downloaded in this block."""
    began = time.perf_counter()
    try:
        yield
    finally:
        count = _waiting.get()
        if count is not None:
            count.seconds_downloading += time.perf_counter() - began


def count_downloaded(share: float) -> None:
    """So much of the model's files has come from the network, 0…1."""
    count = _waiting.get()
    if count is not None:
        count.tell_downloaded(share)


class WidenedCount(TorchFunctionMode):
    """Counts as read what a library makes other numbers of in this block, a context manager; and how much that was."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*arguments, **(named or {}))
        if function is Tensor.to and result.dtype != arguments[0].dtype:
            self.numbers += result.numel()
            count_read(result)
        return result
