"""A denoiser's weights in 8 or 4 bits, packed after loading, as a person asks, or by itself for graphics cards
that it does not fit on otherwise.

By bitsandbytes, in blocks that share a factor: "8-bit" are evenly spaced numbers, "4-bit" the sixteen quantiles of a
normal distribution (NF4; Dettmers et al. 2023, QLoRA). What the layers are given stays in its precision.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import EnvironmentMissingError
from .narrow_weights import NarrowWeight
from .packed import PackedLayer, PackedWeight, is_packable, replace
from .weight_bytes import BLOCK, FULL, Precision, is_packed_on_loading

_KIND_OF_4_BITS = "nf4"


def pack_denoiser(denoiser: nn.Module, precision: Precision, device: torch.device) -> list[str]:
    """Pack what `is_packed_on_loading` says of a denoiser.

    What is packed in its file stays as it is, but for numbers of 16 bits (`narrow_weights`). One layer at a
    time is on the device as a whole.

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
    layers = dict(denoiser.named_modules())
    if any(isinstance(layer, PackedLayer) and not _is_narrow(layer) for layer in layers.values()):
        return [f"The model's weights are quantized in its file already: they stay as they are, not {precision}."]
    names = [
        name
        for name, layer in layers.items()
        if (is_packable(layer) or _is_narrow(layer)) and is_packed_on_loading(f"{name}.weight", _shape_of(layer))
    ]
    if not names:
        return [f"Nothing of this model can be packed to {precision}: its weights stay as they are."]
    check_library(precision)
    kind = _EightBits if precision == "8-bit" else _FourBits
    for name in names:
        layer = layers.pop(name)
        weight = layer.weight.detach()
        packed = kind(weight.to(device))
        if isinstance(layer, PackedLayer):
            layer.packed = packed
        else:
            replace(denoiser, name, packed, weight.dtype)
        del layer, weight  # the next one is not beside it
    return []


def precision_of(denoiser: nn.Module) -> Precision:
    """To what `pack_denoiser` packed a denoiser; `FULL` where it did not."""
    kinds = {type(layer.packed) for layer in denoiser.modules() if isinstance(layer, PackedLayer)}
    return "8-bit" if _EightBits in kinds else "4-bit" if _FourBits in kinds else FULL


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


def check_library(precision: Precision) -> None:
    """Raises EnvironmentMissingError where what packs to a precision is not installed."""
    # on some processors it advises to install what it does not need
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise EnvironmentMissingError(
            f'The Python package "bitsandbytes" is missing, which packs a model to {precision}: install it (pip '
            "install bitsandbytes), or choose the precision auto."
        ) from error


def _is_narrow(layer: nn.Module) -> bool:
    return isinstance(layer, PackedLayer) and isinstance(layer.packed, NarrowWeight)


def _shape_of(layer: nn.Module) -> tuple[int, ...]:
    return tuple(layer.shape if isinstance(layer, PackedLayer) else layer.weight.shape)
