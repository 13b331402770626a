"""The device of this computer, on which one engine of a person works at a time, and its memory.

Whoever computes takes it first, by whichever command: two at once would share one graphics card's memory, or the same
cores, and both be slow. The processor counts as a device, too. Processes that an engine has started (`LocalPool`) work
under its lock. Who gives each engine a card of its own by CUDA_VISIBLE_DEVICES has a lock for each.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..contract import events
from ..system.locks import ProcessLock

LOOK_SECONDS = 0.1

WAITING = "Waiting until another engine on this computer has done its job."


class Device:
    """The lock on the device. Who waits for it is the next to have it, however busy its holder is."""

    def __init__(self) -> None:
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        subject = f"device {cards}" if cards else "device"
        self._lock, self._next = ProcessLock(subject), ProcessLock(f"next at {subject}")
        self.is_held = False
        self._is_next = False

    def acquire(self) -> bool:
        """Take the device; where another engine has it, False, and who asks on has it next, if nobody else waits.

        Raises:
            StorageError: nothing can be locked on this computer.
        """
        if not self.is_held:
            self._is_next = self._is_next or self._next.acquire()
            self.is_held = self._is_next and self._lock.acquire()
            if self.is_held:
                self._give_way()
        return self.is_held

    @property
    def is_wanted(self) -> bool:
        """Whether another engine waits for the device that we have."""
        if not self._next.acquire():
            return True
        self._next.release()
        return False

    def release(self) -> None:
        """Let others have it, or wait for it no longer."""
        self._give_way()
        self._lock.release()
        self.is_held = False

    def _give_way(self) -> None:
        self._next.release()
        self._is_next = False


@contextmanager
def device_taken(report: Callable[[events.Event], None], stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Work on the device in this block, as the only engine of this person, and give its memory back at the end.

    Args:
        report: is told where this has to wait.
        stop: called again and again while it waits; raises where it is to wait no longer.

    Raises:
        StorageError: nothing can be locked on this computer.
    """
    device = Device()
    try:
        if not device.acquire():
            report(events.Notice(WAITING))
            while not device.acquire():
                stop()
                time.sleep(LOOK_SECONDS)
        yield
    finally:
        give_memory_back()
        device.release()


def give_memory_back() -> None:
    """Return what a job used and nobody needs now: torch keeps a card's memory, with which Blender renders, too."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
