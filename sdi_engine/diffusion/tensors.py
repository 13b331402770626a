"""The tensors of a file by name, as the numbers that they stand for. A reader of another format belongs here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import EnvironmentMissingError
from .gguf_header import READ_BLOCKS, is_gguf, read_gguf
from .header import SCALES, current_name, weight_files
from .packed import GgufWeight, PackedWeight, packed_float8


class Tensors:
    """The tensors of an open file by their current names (`header.current_name`), each read when it is asked for.

    Weights in 8 bits have their scales multiplied in, and those in blocks are unpacked, in 32 bits.
    """

    def __init__(self, stream: Any) -> None:
        """
        Args:
            stream: has `keys()` and `get_tensor(name)`, as `safetensors.safe_open`, which may also give a
                `PackedWeight`.
        """
        self._stream = stream
        self._names = {current_name(name): name for name in stream.keys()}  # noqa: SIM118 - it is no mapping

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._stream.get_tensor(self._names[name])
        if isinstance(tensor, PackedWeight):
            return tensor.unpacked(torch.float32)
        scale = self._scale(name)
        if scale is None:
            return tensor
        return tensor.float() * (scale.view(-1, *[1] * (tensor.dim() - 1)) if math.prod(scale.shape) > 1 else scale)

    def packed(self, name: str) -> PackedWeight | None:
        """A weight as the file has it, in few bits; None where the file has it in 16 or more."""
        tensor = self._stream.get_tensor(self._names[name])
        return tensor if isinstance(tensor, PackedWeight) else packed_float8(tensor, self._scale(name))

    def _scale(self, name: str) -> Tensor | None:
        layer, _, kind = name.rpartition(".")
        for suffix in SCALES:
            if kind == "weight" and layer + suffix in self._names:
                return self._stream.get_tensor(self._names[layer + suffix]).float()
        return None


class _Gguf:
    """A `.gguf` file, read by the format's own package."""

    def __init__(self, file: Path) -> None:
        """
        Raises:
            BadInputError: it is damaged.
            EnvironmentMissingError: the package is not installed.
        """
        self._entries = read_gguf(file)  # the package trusts a header
        try:
            from gguf import GGUFReader
        except ImportError as error:
            raise EnvironmentMissingError(
                f'The Python package "gguf" is missing, which reads "{file.name}": install it (pip install gguf), or '
                "choose a .safetensors file."
            ) from error
        self._tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}

    def keys(self) -> list[str]:
        return list(self._entries)

    def get_tensor(self, name: str) -> Tensor | PackedWeight:
        entry = self._entries[name]
        numbers = torch.from_numpy(self._tensors[name].data.copy())
        if entry.kind in READ_BLOCKS:
            return GgufWeight(numbers, entry.kind, entry.shape)
        if entry.kind == "BF16":
            numbers = numbers.view(torch.bfloat16)
        return numbers.reshape(entry.shape)


class _Together:
    """Open files as one."""

    def __init__(self, streams: list[Any]) -> None:
        self._streams = {name: stream for stream in streams for name in stream.keys()}  # noqa: SIM118 - no mappings

    def keys(self) -> list[str]:
        return list(self._streams)

    def get_tensor(self, name: str) -> Tensor:
        tensor: Tensor = self._streams[name].get_tensor(name)
        return tensor


@contextmanager
def open_tensors(file: Path) -> Iterator[Tensors]:
    """The tensors of a `.safetensors` or `.gguf` file, or of all files of a folder, while they are open.

    Raises:
        BadInputError: it is a damaged `.gguf` file.
        EnvironmentMissingError: the package that reads those is not installed.
    """
    if is_gguf(file):
        yield Tensors(_Gguf(file))
        return
    with ExitStack() as stack:
        files = weight_files(file) if file.is_dir() else [file]
        yield Tensors(_Together([stack.enter_context(safe_open(each, framework="pt")) for each in files]))
