"""Muon: momentum with an orthogonalised update of every weight matrix (Jordan et al. 2024, "Muon: An optimizer for
hidden layers in neural networks").

`torch.optim.Muon` does not accept convolutions, computes in bfloat16, which older processors only emulate, and makes
every process do all of the work.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn

# Jordan's coefficients: in few iterations they bring singular values from 0...1 near to 1, though not exactly to it.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices with their singular values brought to about 0.7...1.2, by a Newton-Schulz iteration; zeros stay zeros.

    Args:
        matrices: (N, rows, columns).
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = _A * x + torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; with several processes each does its share of the matrices.

    Args:
        parameters: tensors of two dimensions or more; a convolution's is a matrix (out, in x height x width).
        lr: learning rate; the root mean square of an update is 0.2 lr, about that of AdamW, so that both can use the
            same rate (Liu et al. 2025, "Muon is Scalable for LLM Training"). A tensor may change between replays of a
            CUDA graph.
        momentum: decay of the running mean of the gradients, 0...1.
        weight_decay: decoupled; a step scales the weights by 1 - lr * weight_decay.
        rank: number of this process, from 0.
        processes: number of processes with the same parameters and gradients, in one `torch.distributed` group.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float | Tensor,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.rank, self.processes = rank, processes

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Updates every parameter from its gradient; none may be None."""
        for group in self.param_groups:
            parameters = group["params"]
            updates = self._updates(parameters, group["momentum"])
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_mul_(updates, [-0.2 * max(_shape(parameter)) ** 0.5 for parameter in parameters])
            torch._foreach_mul_(updates, group["lr"])
            shaped = [update.view(parameter.shape) for parameter, update in zip(parameters, updates, strict=True)]
            torch._foreach_add_(parameters, shaped)

    def _updates(self, parameters: list[nn.Parameter], momentum: float) -> tuple[Tensor, ...]:
        """The orthogonalised update of every parameter, flattened, gathered from all processes."""
        sizes = [parameter.numel() for parameter in parameters]
        flat = torch.zeros(sum(sizes), device=parameters[0].device)
        updates = flat.split(sizes)
        gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            if parameter not in self.state:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        means = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        costliest_first = sorted(range(len(parameters)), key=lambda index: -_cost(parameters[index]))
        # Matrices of one shape are stacked: one by one, a GPU would spend its time on launching small kernels.
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index in costliest_first[self.rank :: self.processes]:
            by_shape.setdefault(_shape(parameters[index]), []).append(index)
        for indices in by_shape.values():
            ahead = torch.stack([gradients[index].lerp(means[index], momentum).flatten(1) for index in indices])
            for index, update in zip(indices, orthogonalise(ahead), strict=True):
                updates[index].copy_(update.flatten())
        if self.processes > 1:
            distributed.all_reduce(flat)
        return updates


def _shape(parameter: nn.Parameter) -> tuple[int, int]:
    """Rows and columns of a parameter as a matrix."""
    return parameter.shape[0], parameter.numel() // parameter.shape[0]


def _cost(parameter: nn.Parameter) -> int:
    """A number in proportion to the multiplications that `orthogonalise` takes."""
    return parameter.numel() * min(_shape(parameter))
