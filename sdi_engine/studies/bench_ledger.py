"""Where the seconds and the memory of a piece of work go: every moment is of exactly one part."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import torch

SAMPLE_SECONDS = 0.02
"""So often the memory of this process is looked at."""

_PAGES = Path("/proc/self/statm")

REST = "rest"
"""The part of what nobody has named, to begin with."""


class Ledger:
    """Seconds and peak memory of named parts. A part within another takes its time from that one.

    On a graphics card the device is waited for wherever a part begins or ends, and its memory is what torch holds;
    elsewhere it is that of this process, as Linux tells it.

    Attributes:
        seconds: by part, in the order in which they were first met.
        peak_mb: by part; empty where it cannot be known.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wait: Callable[[], object] = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(
            device.type, lambda: None
        )
        self.seconds: dict[str, float] = {}
        self.peak_mb: dict[str, float] = {}
        self._parts = [REST]
        self._since = 0.0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keep account in this block."""
        stop = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(stop,), daemon=True)
        if self._device.type != "cuda" and sys.platform == "linux":
            watcher.start()
        self._wait()
        self._since = time.perf_counter()
        self._reset_peak()
        try:
            yield
        finally:
            self._book()
            stop.set()
            if watcher.is_alive():
                watcher.join()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """This block is of a part."""
        self._book()
        self._parts.append(name)
        try:
            yield
        finally:
            self._book()
            self._parts.pop()

    def rest_is(self, name: str) -> None:
        """From here on, what nobody has named is of another part."""
        self._book()
        self._parts[0] = name

    def booked(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls are of a part."""

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return call

    def _book(self) -> None:
        """All since the last change is of the present part."""
        self._wait()
        now = time.perf_counter()
        part = self._parts[-1]
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now
        if self._device.type == "cuda":
            self._note(part, torch.cuda.max_memory_allocated(self._device) / 2**20)
        self._reset_peak()

    def _reset_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _watch(self, stop: threading.Event) -> None:
        while True:
            self._note(self._parts[-1], memory_mb())
            if stop.wait(SAMPLE_SECONDS):
                return

    def _note(self, part: str, megabytes: float) -> None:
        self.peak_mb[part] = max(self.peak_mb.get(part, 0.0), megabytes)


def memory_mb() -> float:
    """What this process holds of the main memory, MiB; on Linux only."""
    return int(_PAGES.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
