"""A small network on a processor, traced: torch repeats its operations without Python, on a thread for each share of a
batch.

A network of some million weights takes tens of milliseconds, of which Python, which only one thread can run, is a fifth
and more (docs/evaluation/speed.md). A trace has every operation of one call, for one shape of its tensors, and runs
without Python; so several threads can run it, each with images of its own.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from ..threads import run_each, shares

log = logging.getLogger(__name__)

WORTH_TRACING = range(1_000_000, 30_000_001)
"""Numbers of weights of a network that is traced: about those of the starter prior, 6 million, with which it was
measured. An evaluation of a much larger one takes so long that it has to have safepoints."""

MOST_TRACES = 8
"""As many shapes are traced in a process; networks that are asked with more run as they are for those. Torch keeps
every trace to the end of the process, some 20 MB."""

_AS_EQUAL = 1e-4
"""How far a trace's output may be from the network's, as a share of the largest; rounding makes some 1e-6."""

Trace = Callable[..., Tensor]
"""Takes what a network is asked with, then its weights."""


class TracedNetwork:
    """A call of a network with tensors whose first dimension is the images of a batch, which do not see each other.

    Args:
        network: its weights may change, but not be replaced.
        call: asks it; of one tensor.
        kind: networks of one kind do the same with their weights, such as all of one configuration.
    """

    def __init__(self, network: nn.Module, call: Callable[..., Tensor], kind: Hashable) -> None:
        self._network, self._call, self._kind = network, call, kind
        self._weights = dict(network.named_parameters()) | dict(network.named_buffers())
        is_small = sum(weight.numel() for weight in self._weights.values()) in WORTH_TRACING
        self._works = is_small and all(weight.device.type == "cpu" for weight in self._weights.values())

    @property
    def works(self) -> bool:
        """Whether it is traced at its next call, or was; False once that did not work."""
        return self._works

    def __call__(self, *tensors: Tensor) -> Tensor:
        """What the network gives, up to rounding; where a gradient is wanted, from the network as it is."""
        is_differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if not self._works or is_differentiated:
            return self._call(*tensors)
        device, work = tensors[0].device, []
        for first, end in shares(len(tensors[0]), device):
            part = tuple(tensor[first:end] for tensor in tensors)
            trace = self._trace(part)
            if trace is None:
                return self._call(*tensors)
            work.append((trace, *part))
        return torch.cat(run_each(self._play, work, tensors[0].numel(), device))

    def _play(self, trace: Trace, *tensors: Tensor) -> Tensor:
        return trace(*tensors, *self._weights.values())

    def _trace(self, tensors: tuple[Tensor, ...]) -> Trace | None:
        """The trace for the shapes of these tensors, with which it is made; None where it cannot be."""
        key = (self._kind, *((tensor.shape, tensor.dtype) for tensor in tensors))
        if key in _traces() or len(_traces()) == MOST_TRACES:
            return _traces().get(key)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of shapes that become constants, and of what torch will do without
                this = [self]
                trace = torch.jit.trace(
                    lambda *given: this[0]._with_weights(*given), (*tensors, *self._weights.values()), check_trace=False
                )
                this.clear()  # torch keeps the function as well
                plain, traced = self._call(*tensors), self._play(trace, *tensors)
            self._works = bool((traced - plain).abs().max() <= _AS_EQUAL * plain.abs().max())
            why = "its trace computes something else"
        except Exception as error:  # a torch without traces, a network that cannot be traced: it runs as it is
            self._works, why = False, str(error) or type(error).__name__
        if not self._works:
            log.info("The model is not traced: %s", why)
            return None
        _traces()[key] = trace
        return trace

    def _with_weights(self, *tensors: Tensor) -> Tensor:
        """A trace takes the weights, too, so that it has none of them and serves all networks of the kind."""
        count = len(tensors) - len(self._weights)
        with _replaced(self._network, dict(zip(self._weights, tensors[count:], strict=True))):
            return self._call(*tensors[:count])


@cache
def _traces() -> dict[Hashable, Trace]:
    """The traces of this process, by kind of network, shapes and types."""
    return {}


@contextmanager
def _replaced(network: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """The network has these weights meanwhile. (`torch.func.functional_call` does not work while it is traced.)"""
    places = []
    for name, weight in weights.items():
        owner, _, own_name = name.rpartition(".")
        module = network.get_submodule(owner)
        held = module._parameters if own_name in module._parameters else module._buffers
        places.append((held, own_name, held[own_name], weight))
    try:
        for held, name, _, weight in places:
            held[name] = weight
        yield
    finally:
        for held, name, before, _ in places:
            held[name] = before
