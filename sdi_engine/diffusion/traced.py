"""A small network on a processor, traced: torch repeats its operations without Python, on a thread for each share of a
batch.

A network of some million weights takes tens of milliseconds, of which Python, which only one thread can run, is a fifth
and more (docs/evaluation/speed.md). A trace has every operation of one call, for one shape of its tensors, and runs
without Python; so several threads can run it, each with images of its own.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..threads import run_each, shares

log = logging.getLogger(__name__)

WORTH_TRACING = range(1_000_000, 30_000_001)
"""Numbers of weights of a network that is traced. Those of a larger one take so long that Python does not matter, and
torch's own threads share them well; a smaller one is done with a whole run before it would be traced."""

_SHAPES = 8
"""As many shapes are traced; a network that is asked with more runs as it is for those."""

_AS_EQUAL = 1e-4
"""How far a trace's output may be from the network's, as a share of the largest; rounding makes some 1e-6."""


class TracedNetwork:
    """A call of a network with tensors whose first dimension is the images of a batch, which do not see each other.

    Args:
        network: its weights stay where they are; they may change, but not move.
        call: asks it, without gradients; of one tensor.
    """

    def __init__(self, network: nn.Module, call: Callable[..., Tensor]) -> None:
        self._network, self._call = network, call
        self._traces: dict[tuple[torch.Size, ...], Callable[..., Tensor]] = {}
        weights = [*network.parameters()]
        is_small = sum(weight.numel() for weight in weights) in WORTH_TRACING
        self._works = is_small and all(weight.device.type == "cpu" for weight in weights)

    @property
    def works(self) -> bool:
        """Whether it is traced at its next call, or was; False once that did not work."""
        return self._works

    def __call__(self, *tensors: Tensor) -> Tensor:
        """What the network gives, up to rounding, without gradients."""
        if not self._works:
            return self._call(*tensors)
        device = tensors[0].device
        parts = [tuple(tensor[first:end] for tensor in tensors) for first, end in shares(len(tensors[0]), device)]
        for part in parts:
            if not self._trace(part):
                return self._call(*tensors)
        return torch.cat(run_each(self._play, parts, tensors[0].numel(), device))

    def _play(self, *tensors: Tensor) -> Tensor:
        return self._traces[_shapes(tensors)](*tensors)

    def _trace(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether there is a trace for the shapes of these tensors, which is made with them."""
        if _shapes(tensors) in self._traces:
            return True
        if len(self._traces) == _SHAPES:
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of shapes that become constants, and of what torch will do without
                trace = torch.jit.trace(_Asked(self._network, self._call), tensors, check_trace=False)
                plain, traced = self._call(*tensors), trace(*tensors)
            self._works = bool((traced - plain).abs().max() <= _AS_EQUAL * plain.abs().max())
            why = "its trace computes something else"
        except Exception as error:  # a torch without traces, a network that cannot be traced: it runs as it is
            self._works, why = False, str(error) or type(error).__name__
        if self._works:
            self._traces[_shapes(tensors)] = trace
        else:
            log.info("The model is not traced: %s", why)
        return self._works


class _Asked(nn.Module):
    """A call of a network as a module, whose trace has the network's weights themselves, not copies."""

    def __init__(self, network: nn.Module, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network, self._call = network, call
        self.eval()

    def forward(self, *tensors: Tensor) -> Tensor:
        return self._call(*tensors)


def _shapes(tensors: tuple[Tensor, ...]) -> tuple[torch.Size, ...]:
    return tuple(tensor.shape for tensor in tensors)
