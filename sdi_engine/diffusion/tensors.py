"""The tensors of a file by name, as the numbers that they stand for. A reader of another format belongs here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from .header import SCALES, current_name


class Tensors:
    """The tensors of an open file by their current names (`header.current_name`), each read when it is asked for.

    Weights in 8 bits have their scales multiplied in.
    """

    def __init__(self, stream: Any) -> None:
        """
        Args:
            stream: has `keys()` and `get_tensor(name)`, as `safetensors.safe_open`.
        """
        self._stream = stream
        self._names = {current_name(name): name for name in stream.keys()}  # noqa: SIM118 - it is no mapping

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._stream.get_tensor(self._names[name])
        layer, _, kind = name.rpartition(".")
        for suffix in SCALES:
            if kind == "weight" and layer + suffix in self._names:
                scale = self._stream.get_tensor(self._names[layer + suffix]).float()
                return tensor.float() * (scale.view(-1, *[1] * (tensor.dim() - 1)) if scale.dim() else scale)
        return tensor


@contextmanager
def open_tensors(file: Path) -> Iterator[Tensors]:
    """The tensors of a `.safetensors` file while it is open."""
    with safe_open(file, framework="pt") as stream:
        yield Tensors(stream)
