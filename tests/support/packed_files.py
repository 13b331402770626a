"""Files whose denoiser's weights are in few bits, as they are distributed."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from gguf_files import write_gguf
from safetensors.torch import save_file
from torch import Tensor

Formatted = Callable[[Mapping[str, Tensor], Path], Path]
"""(tensors of a checkpoint, its path without a suffix) → the file."""


def plain_float8(kind: torch.dtype) -> Formatted:
    """Everything of two dimensions and more in 8-bit floats, as "fp8" files are."""

    def write(tensors: Mapping[str, Tensor], path: Path) -> Path:
        return _saved({name: tensor.to(kind) if tensor.dim() > 1 else tensor for name, tensor in tensors.items()}, path)

    return write


def scaled_float8(suffix: str, by_row: bool = False) -> Formatted:
    """With factors, in ComfyUI's older ("scale_weight") or newer naming ("weight_scale"), one or one for each row."""

    def write(tensors: Mapping[str, Tensor], path: Path) -> Path:
        written = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)} if suffix == "scale_weight" else {}
        for name, tensor in tensors.items():
            if not name.endswith(".weight") or tensor.dim() < 2:
                written[name] = tensor
                continue
            largest = (
                tensor.abs().amax(dim=tuple(range(1, tensor.dim())), keepdim=True) if by_row else tensor.abs().max()
            )
            scale = largest.clamp(min=1e-12) / torch.finfo(torch.float8_e4m3fn).max
            layer = name.removesuffix(".weight")
            written[name] = (tensor / scale).to(torch.float8_e4m3fn)
            written[f"{layer}.{suffix}"] = scale.flatten() if by_row else scale
            written[f"{layer}.scale_input"] = torch.tensor(1.0)
        return _saved(written, path)

    return write


def gguf(kind: str) -> Formatted:
    """In blocks of GGUF, but for the VAE's and what has no whole blocks."""

    def write(tensors: Mapping[str, Tensor], path: Path) -> Path:
        return write_gguf(path.with_suffix(".gguf"), dict(tensors), kind)

    return write


FORMATS: dict[str, Formatted] = {
    "fp8 e4m3": plain_float8(torch.float8_e4m3fn),
    "fp8 e5m2": plain_float8(torch.float8_e5m2),
    "fp8 scaled": scaled_float8("scale_weight"),
    "fp8 scaled by row": scaled_float8("weight_scale", by_row=True),
    "GGUF Q8_0": gguf("Q8_0"),
    "GGUF Q5_1": gguf("Q5_1"),
    "GGUF Q4_0": gguf("Q4_0"),
    "GGUF F16": gguf("F16"),
}


def _saved(tensors: Mapping[str, Tensor], path: Path) -> Path:
    file = path.with_suffix(".safetensors")
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file)
    return file
