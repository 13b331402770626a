"""The settings of a training run of the starter prior."""

from __future__ import annotations

from dataclasses import dataclass

from .dataset import INSTANCES_PER_SHARD, VIEWS_PER_INSTANCE

TIMESTEPS = 1000
"""Number of noise levels in the model's schedule."""


@dataclass(frozen=True)
class Settings:
    """The settings of a training run.

    Attributes:
        steps: number of optimiser steps, or None to train for `minutes`.
        minutes: wall-clock training time where `steps` is None.
        seed: seeds all random numbers of the run.
        batch: pictures per step, over all processes; a multiple of `processes`.
        processes: number of processes that train together.
        workers: number of processes that prepare the batches of each training process; 0 if it prepares its own.
        learning_rate: the highest rate, reached after `warm_up` steps, from where a cosine lowers it to a hundredth.
        warm_up: steps over which the rate rises.
        bfloat16: whether the networks compute in bfloat16; weights, their gradients and the loss are float32.
        decay: decay per step of the running average of the weights, 0...1.
        first_shards: shards rendered at the start, per worker, or per process without workers.
        capacity: number of its latest shards that a worker (or process) keeps to draw from.
        instances: subjects in a shard.
        views: pictures of each subject.
        lesson: begin and end, as shares of the run, of the lesson: all pictures then come from `Window.lesson`, at
            `batches.LESSON_TIMESTEPS`, and in its first half from the left and the right side only.
        lesson_share: share of every batch that still comes from `Window.lesson` once the lesson is over.
        reuse: about how many times a picture is used before a new one takes its place.
        log_every: steps between lines of loss.jsonl.
        save_every: steps between saved states and models.
        sample_every: steps between sample grids.
        sample_steps: evaluations of the U-Net for each sample of a grid.
    """

    steps: int | None = None
    minutes: float = 60.0
    seed: int = 0
    batch: int = 32
    processes: int = 1
    workers: int = 0
    learning_rate: float = 8e-4
    warm_up: int = 200
    bfloat16: bool = False
    decay: float = 0.999
    first_shards: int = 8
    capacity: int = 32
    instances: int = INSTANCES_PER_SHARD
    views: int = VIEWS_PER_INSTANCE
    lesson: tuple[float, float] = (0.25, 0.34)
    lesson_share: float = 0.4
    reuse: int = 8
    log_every: int = 20
    save_every: int = 500
    sample_every: int = 2000
    sample_steps: int = 20
