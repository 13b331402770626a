"""What each training step is shown: pictures, the tokens of their captions, timesteps and the seed of the noise.

All of it follows from (seed, step, process) and the progress of the run. On a CPU a process makes its batch when it
needs it. A GPU would wait for that most of the time, so worker processes make batches ahead: each renders shards of its
own and makes every n-th batch of them.
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
"""So noisy that the picture itself does not tell the view, and yet not so much that no caption helps."""

_AHEAD = 12
"""Batches that each worker makes ahead: more than are needed while it renders a shard."""

Draw = Callable[[int, np.random.Generator], tuple[Tensor, list[str]]]
"""From how many pictures, and what decides, to pictures (N, 3, H, W) in 0...1 and captions."""


class Batch(NamedTuple):
    """A process's share of a step.

    Attributes:
        images: (B, 3, H, W) uint8.
        tokens: (B, MAX_LENGTH) int64, from `captions.token_ids`.
        timesteps: (B,) int64 in 0...999.
        noise_seed: of the noise to be added.
    """

    images: Tensor
    tokens: Tensor
    timesteps: Tensor
    noise_seed: int


class Batches(Dataset[Batch]):
    """The batches of a run by step.

    Args:
        settings: of the run.
        resolution: height and width of the pictures in pixels.
        folder: where shards are kept for a resumed run.
        rank: of the process that they are for.
    """

    def __init__(self, settings: Settings, resolution: int, folder: Path, rank: int = 0) -> None:
        self.settings, self.resolution, self.folder, self.rank = settings, resolution, folder, rank
        self.windows: dict[int, Window] = {}
        # Of a run by the clock only the trainer knows it; workers have this number in common with it.
        self._progress = multiprocessing.get_context("spawn").Value("d", 0.0)

    def follow(self, start: int, progress: Callable[[], float], on_gpu: bool) -> Iterator[Batch]:
        """The batches from a step on, to the last one or for ever.

        Args:
            start: the first step.
            progress: how much of the run is done, 0...1; asked before each batch.
            on_gpu: whether they are to be copied to a GPU.
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
        """What the batch of a step is drawn from, with the shards that it takes."""
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
        """How many pictures, by what, at which timesteps: all kinds that this step takes."""
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
