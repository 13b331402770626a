"""A denoiser's weights in 8 or 4 bits, packed after loading, for graphics cards that it does not fit on otherwise.

By bitsandbytes, in blocks that share a factor: "8-bit" are evenly spaced numbers, "4-bit" the sixteen quantiles of a
normal distribution (NF4; Dettmers et al. 2023, QLoRA). What the layers are given stays in its precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import EnvironmentMissingError
from .packed import PackedWeight, is_packable, is_packed, replace
from .weight_bytes import BLOCK, FULL, Precision, is_packed_on_loading

_KIND_OF_4_BITS = "nf4"


def pack_denoiser(denoiser: nn.Module, precision: Precision, device: torch.device) -> list[str]:
    """Pack what `is_packed_on_loading` says of a denoiser.

    Layers that are packed already stay as they are. One layer at a time is on the device as a whole.

    Args:
        denoiser: changed in place, its packed weights on `device`.
        precision: what to pack them to; nothing is done for `FULL`.
        device: where it will run.

    Returns:
        Sentences for the person.

    Raises:
        EnvironmentMissingError: bitsandbytes is not installed.
    """
    if precision == FULL:
        return []
    if is_packed(denoiser):
        return [f"The model's weights are quantized in its file already: they stay as they are, not {precision}."]
    _check_library(precision)
    for name, layer in list(denoiser.named_modules()):
        if is_packable(layer) and is_packed_on_loading(f"{name}.weight", tuple(layer.weight.shape)):
            weight = layer.weight.detach()
            packed = (_EightBits if precision == "8-bit" else _FourBits)(weight.to(device))
            replace(denoiser, name, packed, weight.dtype)
    return []


class _Blockwise(PackedWeight):
    """Blocks of `BLOCK` weights, which follow each other without regard to rows."""

    def _keep(self, bits: Tensor, largest: Tensor, shape: torch.Size) -> None:
        self.shape = shape
        self.register_buffer("bits", bits, persistent=False)
        self.register_buffer("largest", largest, persistent=False)

    @property
    def _blocks(self) -> tuple[int, int]:
        return self.shape.numel() // BLOCK, BLOCK

    def split(self, rows: Sequence[int]) -> list[PackedWeight]:
        raise NotImplementedError  # no file holds them


class _EightBits(_Blockwise):
    def __init__(self, weight: Tensor) -> None:
        from bitsandbytes.functional import create_linear_map, quantize_blockwise

        super().__init__()
        evenly = create_linear_map(signed=True, total_bits=8).to(weight.device)
        bits, state = quantize_blockwise(weight.reshape(-1, BLOCK), code=evenly, blocksize=BLOCK)
        self._keep(bits, state.absmax, weight.shape)
        self.register_buffer("code", evenly, persistent=False)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        from bitsandbytes.functional import QuantState, dequantize_blockwise

        state = QuantState(self.largest, shape=self._blocks, code=self.code, blocksize=BLOCK, dtype=dtype)
        return dequantize_blockwise(self.bits, state).reshape(self.shape)


class _FourBits(_Blockwise):
    def __init__(self, weight: Tensor) -> None:
        from bitsandbytes.functional import quantize_4bit

        super().__init__()
        bits, state = quantize_4bit(weight.reshape(-1, BLOCK), blocksize=BLOCK, quant_type=_KIND_OF_4_BITS)
        self._keep(bits, state.absmax, weight.shape)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        from bitsandbytes.functional import QuantState, dequantize_4bit

        state = QuantState(self.largest, shape=self._blocks, blocksize=BLOCK, quant_type=_KIND_OF_4_BITS, dtype=dtype)
        return dequantize_4bit(self.bits, state).reshape(self.shape)


def _check_library(precision: Precision) -> None:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise EnvironmentMissingError(
            f'The Python package "bitsandbytes" is missing, which packs a model to {precision}: install it (pip '
            "install bitsandbytes)."
        ) from error
