"""What decides a training run of the starter prior."""

from __future__ import annotations

from dataclasses import dataclass

from .dataset import INSTANCES_PER_SHARD, VIEWS_PER_INSTANCE

TIMESTEPS = 1000
"""Noise levels of the model's schedule."""


@dataclass(frozen=True)
class Settings:
    """What decides a training run.

    Attributes:
        steps: optimiser steps, or None to train for `minutes`.
        minutes: training time on the clock, for `steps` None.
        seed: of everything random.
        batch: pictures a step, of all processes together.
        processes: that share the work.
        workers: that render and draw the pictures of a process beside it; 0 for none, it does so itself.
        learning_rate: the highest, reached after `warm_up` steps; a cosine takes it to a hundredth.
        warm_up: steps.
        decay: of the running average of the weights.
        first_shards: at the start, of each process or, where there are any, of each worker.
        capacity: shards that a process or worker draws from, the latest of its own.
        instances, views: subjects in a shard, and pictures of each.
        lesson: from which share of the run to which the pictures are those of `Window.lesson`, at
            `batches.LESSON_TIMESTEPS`; in its first half only left and right are learnt.
        lesson_share: which share of the pictures goes on being of that kind once the lesson is over.
        reuse: how often a picture is used, about, before a new one is rendered.
        log_every: steps between lines of loss.jsonl.
        save_every: steps between saved states and refreshed models.
        sample_every: steps between sample grids.
    """

    steps: int | None = None
    minutes: float = 60.0
    seed: int = 0
    batch: int = 32
    processes: int = 1
    workers: int = 0
    learning_rate: float = 8e-4
    warm_up: int = 200
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
