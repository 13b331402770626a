"""A network that torch compiles when it is first asked, and that runs as it is where that does not work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import is_out_of_memory

Say = Callable[[str], None]
"""Tells a person a sentence."""


def compile_network(network: nn.Module, say: Say) -> None:
    """Have a network compiled at its next call, for each shape that it is asked with.

    Args:
        say: is told where it does not work: no compiler, an old graphics card, a network that cannot be compiled.
    """
    release_network(network)
    network.forward = _Compiled(network.forward, say)


def release_network(network: nn.Module) -> None:
    """Have it run as it is again."""
    if isinstance(network.forward, _Compiled):
        del network.forward  # that of its class is left


class _Compiled:
    def __init__(self, forward: Callable[..., Any], say: Say) -> None:
        self._plain, self._say = forward, say
        self._compiled: Callable[..., Any] | None = torch.compile(forward, dynamic=False)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self._compiled is None:
            return self._plain(*arguments, **named)
        try:
            return self._compiled(*arguments, **named)
        except Exception as error:  # there is no telling what a compiler, a driver or a full disk says
            if is_out_of_memory(error):
                raise
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._say(f"The model cannot be compiled here ({why[:200]}), so it runs as it is.")
            self._compiled = None
            return self._plain(*arguments, **named)
