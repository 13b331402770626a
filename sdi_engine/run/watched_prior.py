"""A model that is timed, and before each of whose evaluations a run can be stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..diffusion.counted_prior import CountedPrior
from ..diffusion.prior import Prediction, Prior, Text


class WatchedPrior(CountedPrior):
    """Another prior, with the seconds that its evaluations have taken.

    Attributes:
        stopwatch: runs during evaluations.
    """

    def __init__(self, prior: Prior) -> None:
        super().__init__(prior)
        self.stopwatch = Stopwatch(prior.device)
        self._safepoint: Callable[[], None] = lambda: None
        self._finished, self._underway = 0, 0
        self._passed, self._passed_in_all = 0, 0
        """Safepoints in this evaluation so far, and in the last one that was finished."""

    @property
    def evaluated(self) -> float:
        """On how many images the model was evaluated, with what is done of the evaluation under way."""
        share = min(1.0, self._passed / self._passed_in_all) if self._passed_in_all else 0.0
        return self._finished + self._underway * share

    def at_safepoints(self, call: Callable[[], None]) -> None:
        """Before each evaluation, and between its parts where it is long."""
        self._safepoint = call
        super().at_safepoints(self._pass)

    def predict_unguided(self, x: Tensor, t: Tensor, text: Text) -> Prediction:
        self._safepoint()
        self._underway, self._passed = len(x), 0
        try:
            with self.stopwatch.running():
                prediction = super().predict_unguided(x, t, text)
            self._finished, self._passed_in_all = self._finished + len(x), self._passed
        finally:
            self._underway = 0
        return prediction

    def _pass(self) -> None:
        self._passed += 1
        self._safepoint()


class Stopwatch:
    """Seconds of a device in blocks of code; a graphics card is not waited for until they are asked for."""

    def __init__(self, device: torch.device) -> None:
        self._on_card = device.type == "cuda"
        self._wait: Callable[[], object] = torch.mps.synchronize if device.type == "mps" else lambda: None
        self._seconds = 0.0
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        if self._on_card:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._spans.append((start, end))
            return
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self._seconds += time.perf_counter() - began

    def take(self) -> float:
        """The seconds since the last call."""
        if self._spans:
            self._spans[-1][1].synchronize()
            self._seconds += sum(start.elapsed_time(end) for start, end in self._spans) / 1000.0
            self._spans.clear()
        seconds, self._seconds = self._seconds, 0.0
        return seconds
