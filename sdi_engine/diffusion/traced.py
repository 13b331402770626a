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
"""Numbers of weights of a network that is traced. Those of a larger one take so long that Python does not matter, and
torch's own threads share them well; a smaller one is done with a whole run before it would be traced."""

MOST_TRACES = 8
"""As many shapes are traced in a process; networks that are asked with more run as they are for those. Torch keeps
every trace to the end of the process, some 20 MB."""

_AS_EQUAL = 1e-4
"""How far a trace's output may be from the network's, as a share of the largest; rounding makes some 1e-6."""


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
        return _traces()[self._key(tensors)](*tensors, *self._weights.values())

    def _trace(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether there is a trace for the shapes of these tensors, which is made with them."""
        if self._key(tensors) in _traces():
            return True
        if len(_traces()) == MOST_TRACES:
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of shapes that become constants, and of what torch will do without
                this = [self]
                trace = torch.jit.trace(
                    lambda *given: this[0]._with_weights(*given), (*tensors, *self._weights.values()), check_trace=False
                )
                this.clear()  # torch keeps the function as well
                plain, traced = self._call(*tensors), trace(*tensors, *self._weights.values())
            self._works = bool((traced - plain).abs().max() <= _AS_EQUAL * plain.abs().max())
            why = "its trace computes something else"
        except Exception as error:  # a torch without traces, a network that cannot be traced: it runs as it is
            self._works, why = False, str(error) or type(error).__name__
        if self._works:
            _traces()[self._key(tensors)] = trace
        else:
            log.info("The model is not traced: %s", why)
        return self._works

    def _with_weights(self, *tensors: Tensor) -> Tensor:
        """A trace takes the weights, too, so that it has none of them and serves all networks of the kind."""
        count = len(tensors) - len(self._weights)
        with _replaced(self._network, dict(zip(self._weights, tensors[count:], strict=True))):
            return self._call(*tensors[:count])

    def _key(self, tensors: tuple[Tensor, ...]) -> tuple[Hashable, ...]:
        return self._kind, *(tensor.shape for tensor in tensors), *(tensor.dtype for tensor in tensors)


@cache
def _traces() -> dict[tuple[Hashable, ...], Callable[..., Tensor]]:
    """The traces of this process. They take what the network is asked with, then its weights."""
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
