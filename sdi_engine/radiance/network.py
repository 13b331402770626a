"""The small network of a field, evaluated block by block, so that its hidden layer never leaves a processor's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

POINTS_AT_ONCE = {"cpu": 2048, "cuda": 1_048_576, "mps": 131_072}
"""By type of device; on a processor for each of its threads."""


def two_layers(features: Tensor, hidden: nn.Linear, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.linear(hidden(features).relu(), weight, bias)`, whose hidden layer is computed again for the gradients.

    Args:
        features: (N, width).
        weight, bias: (outputs, hidden), (outputs,).

    Returns:
        (N, outputs).
    """
    return _TwoLayers.apply(features.t(), hidden.weight, hidden.bias[:, None], weight, bias[:, None]).t()


class _TwoLayers(torch.autograd.Function):
    """Features and outputs have a column for each point."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight_1: Tensor, bias_1: Tensor, weight_2: Tensor, bias_2: Tensor
    ) -> Tensor:
        ctx.save_for_backward(features, weight_1, bias_1, weight_2)
        found = features.new_empty(len(weight_2), features.shape[1])
        for some, outputs in zip(_blocks(features), _blocks(found), strict=True):
            hidden = torch.addmm(bias_1, weight_1, some).relu_()
            outputs.copy_(torch.addmm(bias_2, weight_2, hidden))
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        features, weight_1, bias_1, weight_2 = ctx.saved_tensors
        of_features, of_weight_1, of_bias_1, of_weight_2 = map(torch.zeros_like, ctx.saved_tensors)
        for some, above, below in zip(_blocks(features), _blocks(gradient), _blocks(of_features), strict=True):
            hidden = torch.addmm(bias_1, weight_1, some).relu_()
            of_weight_2.addmm_(above, hidden.t())
            of_hidden = (weight_2.t() @ above).mul_(hidden > 0.0)
            of_weight_1.addmm_(of_hidden, some.t())
            of_bias_1 += of_hidden.sum(dim=1, keepdim=True)
            below.copy_(weight_1.t() @ of_hidden)
        return of_features, of_weight_1, of_bias_1, of_weight_2, gradient.sum(dim=1, keepdim=True)


def _blocks(columns: Tensor) -> tuple[Tensor, ...]:
    threads = torch.get_num_threads() if columns.device.type == "cpu" else 1
    return columns.split(threads * POINTS_AT_ONCE[columns.device.type], dim=1)
