"""NVIDIA Warp, where it is installed: kernels in Python, compiled once per machine and then kept on the disk.

Nothing needs it. Each kernel has a readable twin in plain torch, of which it gives the same values and gradients within
rounding, and which computes wherever Warp is missing or does not work.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DEVICES = ("cpu", "cuda")
"""Types of device for which Warp compiles."""

log = logging.getLogger(__name__)


@cache
def warp_module() -> Any:
    """Warp, ready, and told to say nothing."""
    import warp

    warp.config.log_level = warp.LOG_ERROR  # what it prints would be in the middle of our JSON
    with _silent_stderr():
        warp.init()
    return warp


def launch(kernel: Any, count: int, arguments: Sequence[Any], device: torch.device) -> None:
    """Run a kernel `count` times, on torch's own stream where there is one; tensors are passed by `array`."""
    warp = warp_module()
    where = warp.device_from_torch(device)
    stream = warp.stream_from_torch(device) if where.is_cuda else None
    warp.launch(kernel, count, list(arguments), device=where, stream=stream, record_tape=False)


def array(tensor: Tensor, dtype: Any = None) -> Any:
    """A tensor's memory for a kernel, as long as the tensor, or one that it is a part of, is there.

    Warp takes no gradients of it: those are kernels, too.
    """
    return warp_module().from_torch(tensor.detach(), dtype=dtype, return_ctype=True)


def works(trial: Callable[[], object], package: str = "warp", name: str = "Warp") -> bool:
    """Whether a package is there, and what a trial does with it comes to no error; if not, the log says why, once."""
    if importlib.util.find_spec(package) is None:
        return False
    try:
        with torch.enable_grad():
            trial()
    except Exception as error:  # whatever a compiler, a driver or a full disk may say: there is another way
        _say_once(f"{name} does not work here, so another way of computing is taken, more slowly: {error}")
        return False
    return True


@cache
def _say_once(sentence: str) -> None:
    log.warning(sentence)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Without the line that Warp's library writes there where no CUDA is."""
    sys.stderr.flush()
    with Path(os.devnull).open("w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
