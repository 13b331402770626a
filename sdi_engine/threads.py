"""Work on many points, shared out among the threads of a processor, in each of which torch computes alone.

Torch's own threads meet after every operation. On small matrices that takes longer than what they compute, and far
longer where other programs want the processor, too (docs/evaluation/speed.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import Any, TypeVar

import torch

WORTH_THREADS = 4096
"""Work on fewer points is done by one thread."""

Result = TypeVar("Result")


def run_each(
    function: Callable[..., Result], work: Iterable[tuple[Any, ...]], points: int, device: torch.device
) -> list[Result]:
    """Call a function with each of some arguments, in any order, without gradients; what it returns, in theirs.

    On a processor as many at a time as torch has threads.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu" and threads > 1 and points > WORTH_THREADS:
        return list(_workers(threads).map(lambda arguments: function(*arguments), work))
    return [function(*arguments) for arguments in work]


def run_shares(function: Callable[[int, int], Result], count: int, points: int, device: torch.device) -> list[Result]:
    """`run_each` with the first and the last but one of each of the `shares` of so many things."""
    return run_each(function, shares(count, device), points, device)


def shares(count: int, device: torch.device) -> list[tuple[int, int]]:
    """The first and the last but one of the parts into which so many things are split: for each thread of a processor
    one, on a graphics card all in one."""
    share = max(1, -(-count // torch.get_num_threads())) if device.type == "cpu" else max(1, count)
    return [(start, min(count, start + share)) for start in range(0, count, share)]


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    """So many threads, in which torch has one thread, and takes no gradients."""
    started = Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # else this thread would take over what is said last, when it first computes
        torch.set_grad_enabled(False)
        started.wait()

    workers = ThreadPoolExecutor(threads, "sdi worker", start)
    try:
        for _ in range(threads):
            workers.submit(lambda: None)
        started.wait()
    except BaseException:
        started.abort()  # those that have started would wait for the others, and the process for them when it ends
        raise
    finally:
        torch.set_num_threads(threads)  # each thread says it to those that will be started, too
    return workers


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)  # threads stay behind in the parent
