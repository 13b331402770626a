"""Small `.gguf` files, written by the format's own package."""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants
from torch import Tensor


def write_gguf(path: Path, tensors: dict[str, Tensor], kind: str = "Q8_0", plain: tuple[str, ...] = ()) -> Path:
    """A file of tensors, their matrices in blocks of a kind where their rows are whole blocks.

    Args:
        kind: one that the package can quantize to, such as "Q8_0" or "Q4_0"; "F16" for half precision.
        plain: beginnings of names of matrices that stay in float32, as their other tensors do.
    """
    chosen = GGMLQuantizationType[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(str(path), "flux")
    writer.add_quantization_version(2)
    writer.add_array("tokenizer.words", ["a", "b"])
    for name, tensor in tensors.items():
        numbers = tensor.detach().float().contiguous().numpy()
        is_whole = numbers.ndim == 2 and numbers.shape[1] % 32 == 0 and not name.startswith(plain or ("\0",))
        if is_whole or kind == "F16":
            writer.add_tensor(name, quants.quantize(numbers, chosen), raw_dtype=chosen)
        else:
            writer.add_tensor(name, numbers)
    _write(writer)
    return path


def write_blocks(path: Path, name: str, rows: int, kind: str, bytes_a_row: int) -> Path:
    """A file of one matrix in blocks of a kind that the package cannot quantize to, of zeros."""
    writer = GGUFWriter(str(path), "flux")
    blocks = np.zeros((rows, bytes_a_row), dtype=np.uint8)
    writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType[kind])
    _write(writer)
    return path


def _write(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
