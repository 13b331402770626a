"""The batch of each training step: pictures, the tokens of their captions, timesteps and the seed of the noise.

A batch depends on (seed, step, process) and the progress of the run alone. On a CPU a process makes each batch when it
needs it. A GPU would mostly wait for that, so n worker processes make batches ahead: each renders shards of its own and
makes every n-th batch from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, multiprocessing
from torch.utils.data import DataLoader, Dataset

from . import captions
from .dataset import Window
from .settings import TIMESTEPS, Settings

LESSON_TIMESTEPS = (450, 970)
"""The range where so much noise hides the view that the caption has to tell it, but not so much that nothing helps."""

_AHEAD = 12
"""Batches that each worker makes ahead: more than the training uses up while the worker renders a shard."""

Draw = Callable[[int, np.random.Generator], tuple[Tensor, list[str]]]
"""Takes a number N of pictures and a random generator; returns pictures (N, 3, H, W) in 0...1 and N captions."""


class Batch(NamedTuple):
    """One process's share of a step's batch.

    Attributes:
        images: (B, 3, H, W) uint8.
        tokens: (B, MAX_LENGTH) int64, from `captions.token_ids`.
        timesteps: (B,) int64 in 0...999.
        noise_seed: seed of the noise that is added to the images.
    """

    images: Tensor
    tokens: Tensor
    timesteps: Tensor
    noise_seed: int


class Batches(Dataset[Batch]):
    """The batches of a run, indexed by step.

    Args:
        settings: the run's settings.
        resolution: height and width of the pictures in pixels.
        folder: where to keep shards for a resumed run.
        rank: number of the training process that they are for, from 0.
    """

    def __init__(self, settings: Settings, resolution: int, folder: Path, rank: int = 0) -> None:
        self.settings, self.resolution, self.folder, self.rank = settings, resolution, folder, rank
        self.windows: dict[int, Window] = {}
        # In a run timed by the clock only the trainer knows its progress; it shares the number with the workers.
        self._progress = multiprocessing.get_context("spawn").Value("d", 0.0)

    def follow(self, start: int, progress: Callable[[], float], on_gpu: bool) -> Iterator[Batch]:
        """The batches from a step on, up to the last step, or endlessly if the run is timed by the clock.

        Args:
            start: the first step.
            progress: returns the share of the run that is done, 0...1; called before each batch.
            on_gpu: whether to pin the batches in memory for copies to a GPU.
        """
        steps: Iterable[int] = itertools.count(start)
        if self.settings.steps is not None:
            steps = range(start, self.settings.steps)
        workers = self.settings.workers
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            pin_memory=on_gpu,
            multiprocessing_context="spawn" if workers else None,
            prefetch_factor=_AHEAD if workers else None,
        )
        batches = iter(loader)
        while True:
            self._progress.value = progress()
            batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step (from 0)."""
        settings = self.settings
        count = settings.batch // settings.processes
        rng = np.random.default_rng((settings.seed, step, self.rank))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        images, texts, timesteps = [], [], []
        for number, draw, between in self._to_draw(step, count):
            some, told = draw(number, rng)
            images.append((some * 255).round().to(torch.uint8))
            texts += told
            timesteps.append(torch.randint(*between, (number,), generator=generator))
        tokens = captions.token_ids(self._tokenizer, texts)
        return Batch(torch.cat(images), tokens, torch.cat(timesteps), int(rng.integers(2**62)))

    @cached_property
    def _tokenizer(self) -> captions.CLIPTokenizer:
        return captions.build_tokenizer()

    def _window(self, step: int) -> Window:
        """The window that a step's batch is drawn from, with the shards that are due at that step."""
        settings = self.settings
        workers = max(settings.workers, 1)
        worker, made = step % workers, step // workers
        if worker not in self.windows:
            self.windows[worker] = Window(
                settings.seed,
                self.folder,
                first=self.rank * workers + worker,
                every=settings.processes * workers,
                size=self.resolution,
                capacity=settings.capacity,
                instances=settings.instances,
                views=settings.views,
            )
        shown = made * settings.batch // settings.processes
        self.windows[worker].advance(
            settings.first_shards + shown // (settings.instances * settings.views * settings.reuse)
        )
        return self.windows[worker]

    def _to_draw(self, step: int, count: int) -> list[tuple[int, Draw, tuple[int, int]]]:
        """The parts of a step's batch: each a number of pictures, the function that draws them and their timesteps."""
        begin, end = self.settings.lesson
        steps = self.settings.steps
        progress = self._progress.value if steps is None else step / steps
        if progress < begin:
            in_lesson = 0
        elif progress < end:
            in_lesson = count
        else:
            in_lesson = round(self.settings.lesson_share * count)
        window = self._window(step)
        drawn = [
            (count - in_lesson, window.batch, (0, TIMESTEPS)),
            (in_lesson, partial(window.lesson, only_sides=progress < (begin + end) / 2), LESSON_TIMESTEPS),
        ]
        return [entry for entry in drawn if entry[0]]
