"""LoRA files for tiny models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def low_rank(
    layers: Mapping[str, tuple[int, int]], kinds: Sequence[str], alpha: float | None = None, rank: int = 2
) -> dict[str, Tensor]:
    """A file's tensors for layers, given by their names in it and the shapes of their weights.

    Args:
        kinds: what the file calls the matrix that takes to the low rank, and the one that takes back.
    """
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (rows, columns) in layers.items():
        tensors[f"{name}.{kinds[0]}"] = torch.randn(rank, columns, generator=generator)
        tensors[f"{name}.{kinds[1]}"] = torch.randn(rows, rank, generator=generator)
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors
