"""Weights that stay in a file's 16 bits on a processor that computes in 32, and are widened layer by layer.

What is computed is the same, bit for bit, since every number of 16 bits is one of 32; a model takes half the memory,
and where it is as its file has it, that memory is the file's, which the system reads again when it needs the room.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .packed import PackedWeight, is_packable, replace

NARROW = {"F16": torch.float16, "BF16": torch.bfloat16}
"""By their names in a file's header (`weight_bytes.narrow_kind`)."""


class NarrowWeight(PackedWeight):
    """A weight (out, in, …) in 16 bits."""

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.shape = numbers.shape
        self._kind = numbers.dtype
        # As bytes, so that nothing that casts a model's numbers takes them for such.
        self.register_buffer("bits", numbers.contiguous().view(torch.uint8), persistent=False)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        return self.bits.view(self._kind).to(dtype)

    def split(self, rows: Sequence[int]) -> list[PackedWeight]:
        return [NarrowWeight(part) for part in self.bits.view(self._kind).split(list(rows))]


def keep_narrow(network: nn.Module, dtype: torch.dtype) -> None:
    """Let a network, loaded in 16 bits, compute in `dtype`: its matrices and kernels stay as they are, and the rest,
    which is next to nothing, is widened."""
    for name, layer in list(network.named_modules()):
        if is_packable(layer) and layer.weight.dtype in NARROW.values():
            replace(network, name, NarrowWeight(layer.weight.data), dtype)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dtype in NARROW.values():
            tensor.data = tensor.data.to(dtype)
