"""The lock on this computer's device, so that only one of a person's engines computes at a time, and its memory.

Every command takes it before it computes: two at once would share one graphics card's memory, or the same cores, and
both would be slow. The processor counts as a device too. Processes started by an engine (`LocalPool`) work under its
lock. With CUDA_VISIBLE_DEVICES, which gives each engine a card of its own, each has a lock of its own.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..contract import events
from ..system.locks import ProcessLock
from ..system.memory import give_memory_back
from ..system.untrusted import printable

POLL_SECONDS = 0.1

SAY_AGAIN_SECONDS = 60.0
"""After so long a command says again that it waits, and then after twice as long each time."""

log = logging.getLogger(__name__)


class Device:
    """The lock on the device. An engine that waits for it gets it next, however many jobs its holder has.

    Args:
        place: the folder that this engine works in, which those who wait are told; or None.
    """

    def __init__(self, place: Path | None = None) -> None:
        self._place = "" if place is None else str(place.absolute())
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        subject = f"device {cards}" if cards else "device"
        self._lock, self._next = ProcessLock(subject), ProcessLock(f"next at {subject}")
        self.is_held = False
        self._is_next = False

    def acquire(self) -> bool:
        """Take the device, or return False while another engine has it; keep calling to get it next.

        Raises:
            StorageError: locks do not work on this computer.
        """
        if not self.is_held:
            self._is_next = self._is_next or self._next.acquire()
            self.is_held = self._is_next and self._lock.acquire()
            if self.is_held:
                self._leave_queue()
                self._lock.tell(self._place)
        return self.is_held

    @property
    def busy(self) -> str:
        """One sentence on what an engine that does not get the device waits for."""
        holder = self._lock.holder()
        known = [f"process {holder['pid']}"] if holder else []
        if isinstance(place := holder.get("place"), str) and place:
            known.append(f'at work in "{printable(place)}"')
        who = f" ({', '.join(known)})" if known else ""
        return f"Waiting until another engine on this computer{who} has finished its job."

    @property
    def is_wanted(self) -> bool:
        """Whether another engine waits for the device that this one holds."""
        if not self._next.acquire():
            return True
        self._next.release()
        return False

    def release(self) -> None:
        """Release the device, or stop waiting for it."""
        self._leave_queue()
        self._lock.release()
        self.is_held = False

    def _leave_queue(self) -> None:
        self._next.release()
        self._is_next = False


@contextmanager
def device_taken(
    report: Callable[[events.Event], None], place: Path | None, stop: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the device during a block, as this person's only engine; its memory is freed at the end.

    Args:
        report: gets a notice if the device is not free; the log goes on saying for how long.
        place: as of `Device`.
        stop: called repeatedly while waiting; raises to stop waiting.

    Raises:
        StorageError: locks do not work on this computer.
    """
    device = Device(place)
    try:
        if not device.acquire():
            report(events.Notice(device.busy))
            start, again = time.monotonic(), SAY_AGAIN_SECONDS
            while not device.acquire():
                stop()
                waited = time.monotonic() - start
                if waited >= again:
                    log.info("%s It has taken %.0f min so far.", device.busy, waited / 60.0)
                    again = 2.0 * waited
                time.sleep(POLL_SECONDS)
        yield
    finally:
        give_memory_back()
        device.release()
