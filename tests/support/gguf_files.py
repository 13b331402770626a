"""Small `.gguf` files, written by the format's own package."""

import itertools
from pathlib import Path

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, quants
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


K_QUANTS = ("Q4_K", "Q5_K", "Q6_K")
"""What most files have, in which the package reads, and to which it cannot quantize."""

_FACTORS = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "Q8_0": (0,),
    "Q5_1": (0, 2),
    "Q5_0": (0,),
    "Q4_1": (0, 2),
    "Q4_0": (0,),
    "IQ4_XS": (0,),
    "IQ4_NL": (0,),
}
"""Where in a block of each kind its factor in 16 bits is, and that of what is subtracted or added, if there is one."""


def random_blocks(kind: str, rows: int, columns: int, random: np.random.Generator) -> np.ndarray:
    """The bytes of a matrix in blocks that stand for small numbers of both signs, (rows, bytes of a row)."""
    per_block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    blocks = random.integers(0, 256, (rows * columns // per_block, size), dtype=np.uint8)
    for place, usual in zip(_FACTORS[kind], (1e-4, 8e-4), strict=False):
        factors = (usual * random.uniform(0.5, 1.5, len(blocks))).astype(np.float16)
        blocks[:, place : place + 2] = factors.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def write_k_quants(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file with random blocks of K-quants, in turn, in the place of all matrices whose rows are whole blocks.

    Returns:
        The tensors that the file stands for, as the format's own package reads it.
    """
    random, kinds = np.random.default_rng(0), itertools.cycle(K_QUANTS)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(str(path), "flux")
    meant = {}
    for name, tensor in tensors.items():
        meant[name] = tensor.detach().float()
        if tensor.dim() != 2 or tensor.shape[1] % 256:
            writer.add_tensor(name, meant[name].contiguous().numpy())
            continue
        kind = GGMLQuantizationType[next(kinds)]
        blocks = random_blocks(kind.name, *tensor.shape, random)
        writer.add_tensor(name, blocks, raw_dtype=kind)
        meant[name] = torch.from_numpy(quants.dequantize(blocks, kind)).view(tensor.shape)
    _write(writer)
    return meant


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
