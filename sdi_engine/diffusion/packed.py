"""Weights that stay in memory as a file has them, in few bits, and are unpacked layer by layer as they are needed.

Diffusers casts layers of plain 8-bit floats in the same way (`enable_layerwise_casting`), and has a layer for GGUF.
Here one layer does for all formats, so that scales, LoRAs beside the weights and gradients of the input are alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .original_names import Held, Layout, as_it_is
from .read_share import count_read

if TYPE_CHECKING:
    from .tensors import Tensors

_FLOATS_8 = (torch.float8_e4m3fn, torch.float8_e5m2)


class PackedWeight(nn.Module):
    """A weight (out, in, …) in few bits.

    Attributes:
        shape: of the weight that it stands for.
    """

    shape: torch.Size

    @abstractmethod
    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The weight."""

    @abstractmethod
    def split(self, rows: Sequence[int]) -> list[PackedWeight]:
        """Several weights that follow each other along the first dimension, with so many rows each."""

    @property
    def has_whole_rows(self) -> bool:
        """Whether no block holds weights of two rows, so that it can be split."""
        return True

    def runs_on(self, device: torch.device) -> bool:
        """Whether it can be unpacked there."""
        return True

    def is_finite(self) -> bool:
        """Whether none of its numbers is NaN or infinite."""
        return bool(self.unpacked(torch.float32).isfinite().all())

    def forward(self, *arguments: Any) -> Tensor:
        raise NotImplementedError  # it belongs to a layer


class Float8Weight(PackedWeight):
    """8-bit floats, plain or "scaled": with one factor in 32 bits, or one for each row."""

    def __init__(self, numbers: Tensor, scale: Tensor | None = None) -> None:
        """
        Args:
            numbers: (out, in, …) in 8-bit floats.
            scale: one number, or `out` of them.
        """
        super().__init__()
        self.shape = numbers.shape
        self._kind = numbers.dtype
        # As bytes, so that nothing that casts a model's numbers takes them for such.
        self.register_buffer("bits", numbers.contiguous().view(torch.uint8), persistent=False)
        if scale is not None:
            scale = scale.float().reshape(-1, *[1] * (numbers.dim() - 1))
        self.register_buffer("scale", scale, persistent=False)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        numbers = self.bits.view(self._kind)
        # The factor can be too small for half precision, the product is not.
        return numbers.to(dtype) if self.scale is None else (numbers.float() * self.scale).to(dtype)

    def split(self, rows: Sequence[int]) -> list[PackedWeight]:
        numbers = self.bits.view(self._kind).split(list(rows))
        if self.scale is None or len(self.scale) == 1:
            return [Float8Weight(part.clone(), self.scale) for part in numbers]
        scales = self.scale.split(list(rows))
        return [Float8Weight(part.clone(), scale) for part, scale in zip(numbers, scales, strict=True)]

    def runs_on(self, device: torch.device) -> bool:
        return device.type != "mps"  # which has no 8-bit floats


class GgufWeight(PackedWeight):
    """Blocks of GGUF, unpacked by Diffusers."""

    def __init__(self, blocks: Tensor, kind: str, shape: Sequence[int]) -> None:
        """
        Args:
            blocks: uint8, as in the file; any shape.
            kind: of the blocks, such as "Q4_K" (`gguf_header.READ_BLOCKS`).
            shape: of the weight.
        """
        super().__init__()
        self.shape = torch.Size(shape)
        self._kind = kind
        self.register_buffer("blocks", blocks.contiguous().flatten(), persistent=False)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        from diffusers.quantizers.gguf.utils import GGML_QUANT_SIZES, dequantize_functions
        from gguf import GGMLQuantizationType

        kind = GGMLQuantizationType[self._kind]
        per_block, size = GGML_QUANT_SIZES[kind]
        # The factors of the blocks are in 16 bits with more digits than bfloat16 has.
        exact = torch.float32 if dtype == torch.float32 else torch.float16
        numbers = dequantize_functions[kind](self.blocks.view(-1, size), per_block, size, dtype=exact)
        return numbers.reshape(self.shape).to(dtype)

    def split(self, rows: Sequence[int]) -> list[PackedWeight]:
        by_row = self.blocks.view(self.shape[0], -1)
        parts = by_row.split(list(rows))
        return [GgufWeight(part.clone(), self._kind, (len(part), *self.shape[1:])) for part in parts]

    @property
    def has_whole_rows(self) -> bool:
        return self.blocks.numel() % self.shape[0] == 0


class PackedLayer(nn.Module):
    """A linear layer or a convolution whose weight is packed; frozen, but gradients of its input flow.

    Its weight is unpacked in each forward pass, and again in the backward pass, so that no graph keeps it.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, packed: PackedWeight, dtype: torch.dtype) -> None:
        """
        Args:
            layer: whose place it takes, and whose bias it takes over.
            packed: of the layer's weight's shape.
            dtype: that it computes in.
        """
        super().__init__()
        self.packed = packed
        self.compute_dtype = dtype
        self.bias = layer.bias
        self._low_rank = 0

    @property
    def weight(self) -> Tensor:
        """Unpacked, without what LoRAs add."""
        return self.packed.unpacked(self.compute_dtype)

    @property
    def shape(self) -> torch.Size:
        return self.packed.shape

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return checkpoint(self._applied, x, use_reentrant=False, preserve_rng_state=False)
        return self._applied(x)

    def add_low_rank(self, down: Tensor, up: Tensor) -> bool:
        """Add up · down to what the weight does, without changing it; whether all of it is finite.

        Args:
            down: (rank, in, …), of the weight's kernel size.
            up: (out, rank).
        """
        device = next(self.packed.buffers()).device
        for name, tensor in ((f"down_{self._low_rank}", down), (f"up_{self._low_rank}", up)):
            self.register_buffer(name, tensor.to(device, self.compute_dtype), persistent=False)
        self._low_rank += 1
        return all(bool(tensor.isfinite().all()) for tensor in (down, up.to(self.compute_dtype)))

    def _applied(self, x: Tensor) -> Tensor:
        y = self._with(x, self.weight, self.bias)
        for index in range(self._low_rank):
            down, up = getattr(self, f"down_{index}"), getattr(self, f"up_{index}")
            y = y + self._spread(self._with(x, down, None), up)
        return y

    @abstractmethod
    def _with(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's own function with another weight."""

    @abstractmethod
    def _spread(self, x: Tensor, up: Tensor) -> Tensor:
        """From `rank` channels to those of the layer."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """The weight's name and shape are those that it would have unpacked, for whoever asks for names."""
        destination[f"{prefix}weight"] = torch.empty(self.shape, dtype=self.compute_dtype, device="meta")
        super()._save_to_state_dict(destination, prefix, keep_vars)


class PackedLinear(PackedLayer):
    """x (…, in) → (…, out)."""

    def __init__(self, layer: nn.Linear, packed: PackedWeight, dtype: torch.dtype) -> None:
        super().__init__(layer, packed, dtype)
        self.in_features, self.out_features = layer.in_features, layer.out_features

    def _with(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def _spread(self, x: Tensor, up: Tensor) -> Tensor:
        return F.linear(x, up)


class PackedConv2d(PackedLayer):
    """x (B, in, h, w) → (B, out, h', w'), padded with zeros."""

    def __init__(self, layer: nn.Conv2d, packed: PackedWeight, dtype: torch.dtype) -> None:
        super().__init__(layer, packed, dtype)
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation

    def _with(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation)

    def _spread(self, x: Tensor, up: Tensor) -> Tensor:
        return F.conv2d(x, up[:, :, None, None])


def is_packable(layer: nn.Module) -> bool:
    """Whether a packed layer can take the place of this one."""
    if isinstance(layer, nn.Conv2d):
        return type(layer).forward is nn.Conv2d.forward and layer.padding_mode == "zeros" and layer.groups == 1
    return isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward


def replace(module: nn.Module, name: str, packed: PackedWeight, dtype: torch.dtype) -> None:
    """Put a packed layer in the place of one for which `is_packable` holds.

    Args:
        module: changed in place.
        name: of the layer in it.
        packed: its weight.
        dtype: that it computes in.
    """
    layer = module.get_submodule(name)
    kind = PackedConv2d if isinstance(layer, nn.Conv2d) else PackedLinear
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, kind(layer, packed, dtype))


def packed_float8(numbers: Tensor, scale: Tensor | None) -> PackedWeight | None:
    """A tensor of a file as a packed weight; None where it is not one of 8-bit floats."""
    if numbers.dtype not in _FLOATS_8 or numbers.dim() < 2:
        return None
    return Float8Weight(numbers, scale)


def take_packed(
    module: nn.Module, layout: Layout, tensors: Tensors, dtype: torch.dtype, device: torch.device
) -> Layout:
    """Give a network those of a file's weights that stay packed in it.

    Args:
        module: without weights; some of its layers are replaced.
        layout: what the file calls its tensors.
        tensors: of the file.
        dtype: that its layers compute in.
        device: where they will run.

    Returns:
        What of the layout is still to be filled: all that is not packed in the file, or does not fit packed.
    """
    rest = dict(layout)
    for original, held in layout.items():
        names = _packable_layers(module, held)
        packed = tensors.packed(original) if names and original in tensors else None
        if packed is None or not packed.runs_on(device):
            continue
        shapes = [module.get_submodule(name).weight.shape for name in names]
        pieces = _pieces(packed, shapes)
        if len(pieces) != len(names) or not all(piece.is_finite() for piece in pieces):
            continue
        for name, piece in zip(names, pieces, strict=True):
            replace(module, name, piece, dtype)
        count_read(packed.shape)
        del rest[original]
    return rest


def _packable_layers(module: nn.Module, held: Held) -> list[str]:
    """The names of the layers whose weights a tensor of a file is, if all of them can be packed; else none."""
    names = [name.removesuffix(".weight") for name in held.names]
    if held.change is not as_it_is or not all(name.endswith(".weight") for name in held.names):
        return []
    return names if all(is_packable(module.get_submodule(name)) for name in names) else []


def _pieces(packed: PackedWeight, shapes: Sequence[torch.Size]) -> list[PackedWeight]:
    """A weight as those of these shapes, which follow each other along the first dimension; none if it is not those."""
    rows = [shape[0] for shape in shapes]
    if packed.shape != (sum(rows), *shapes[0][1:]):
        return []
    if len(rows) == 1:
        return [packed]
    return packed.split(rows) if packed.has_whole_rows else []
