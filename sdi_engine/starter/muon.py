"""Muon: momentum whose update of every weight matrix is made orthogonal (Jordan et al. 2024, "Muon: An optimizer for
hidden layers in neural networks").

`torch.optim.Muon` takes no convolutions, computes in bfloat16, which older processors only emulate, and makes every
process do all of the work.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn

# Jordan's coefficients: they bring singular values from 0...1 near to 1 in few iterations, not exactly to it.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5


def orthogonalise(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought to about 0.7...1.2, by a Newton-Schulz iteration; zeros stay zeros.

    Args:
        matrix: (rows, columns).
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = _A * x + torch.addmm(gram, gram, gram, beta=_B, alpha=_C) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; with several processes each does its share of the matrices.

    Args:
        parameters: of two dimensions or more; a convolution's weight counts as a matrix (out, in x height x width).
        lr: an update's root mean square is 0.2 of it, as AdamW's is about, so that both take the same rate (Liu et al.
            2025, "Muon is Scalable for LLM Training").
        momentum: of the running mean of the gradients.
        weight_decay: decoupled, times `lr`.
        rank: which of the processes this is.
        processes: that have the same parameters and gradients, and meet in `torch.distributed`.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.rank, self.processes = rank, processes

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Updates every parameter from its gradient, which all have."""
        for group in self.param_groups:
            parameters = group["params"]
            updates = self._updates(parameters, group["momentum"])
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for parameter, update in zip(parameters, updates, strict=True):
                rows = parameter.shape[0]
                rate = 0.2 * group["lr"] * max(rows, parameter.numel() // rows) ** 0.5
                parameter.add_(update.view(parameter.shape), alpha=-rate)

    def _updates(self, parameters: list[nn.Parameter], momentum: float) -> tuple[Tensor, ...]:
        """A flat orthogonal update for every parameter, from all processes."""
        sizes = [parameter.numel() for parameter in parameters]
        flat = torch.zeros(sum(sizes), device=parameters[0].device)
        updates = flat.split(sizes)
        dearest_first = sorted(range(len(parameters)), key=lambda index: -_cost(parameters[index]))
        for place, index in enumerate(dearest_first):
            parameter = parameters[index]
            mean = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            mean.lerp_(parameter.grad, 1 - momentum)
            if place % self.processes == self.rank:
                ahead = parameter.grad.lerp(mean, momentum)
                updates[index].copy_(orthogonalise(ahead.flatten(1)).flatten())
        if self.processes > 1:
            distributed.all_reduce(flat)
        return updates


def _cost(parameter: nn.Parameter) -> int:
    """In proportion to the multiplications of `orthogonalise`."""
    rows = parameter.shape[0]
    return parameter.numel() * min(rows, parameter.numel() // rows)
