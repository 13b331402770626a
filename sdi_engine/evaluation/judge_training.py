"""Trains the judge: `python -m sdi_engine.evaluation.judge_training --output FILE.safetensors --minutes 15`.

It learns from pictures of the starter world (`starter.dataset`) with a seed that no prior is trained with, of all
things in all colours, degraded in many ways, so that it also recognises the softer results of an optimisation. Every
step draws from (seed, step): with `--steps` a run can be repeated exactly; with `--minutes` the learning rate follows
the clock.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..starter.dataset import INSTANCES_PER_SHARD, VIEWS_PER_INSTANCE, Picture, Window, random_backgrounds
from ..starter.train import scheduled_rate
from .accuracy import accuracy, kinds_with_front
from .judge import VIEW_BINS, WEIGHTS, Judge, Names, load_judge
from .pictures import GREY

log = logging.getLogger(__name__)

SEED = 10_000_019
"""Of the training pictures; far from the small seeds that priors are trained with."""

LOSS_WEIGHTS = {"thing": 1.0, "colour": 1.0, "pattern": 1.0, "view": 1.0, "base": 0.5, "base_colour": 0.5}

_UNKNOWN = -1
_COLOURED = ("colour", "pattern", "base_colour")


@dataclass(frozen=True)
class Settings:
    """The settings of a training run.

    Attributes:
        steps: number of optimiser steps, or None to train for `minutes`.
        minutes: wall-clock training time where `steps` is None.
        seed: seeds all random numbers but those of the pictures.
        batch: pictures per step.
        learning_rate: the highest rate, reached after `warm_up` steps, from where a cosine lowers it to a hundredth.
        warm_up: steps over which the rate rises.
        first_shards: shards of pictures rendered at the start.
        reuse: about how many times a picture is used before a new one takes its place.
    """

    steps: int | None = None
    minutes: float = 15.0
    seed: int = 0
    batch: int = 64
    learning_rate: float = 1e-3
    warm_up: int = 100
    first_shards: int = 16
    reuse: int = 8


def pictures_window(folder: Path | None = None, capacity: int = 64) -> Window:
    """The pictures that the judge is trained on; if a folder is given, they are kept there for another run."""
    return Window(SEED, folder, capacity=capacity, excluded=frozenset())


def train(settings: Settings, window: Window, start: Judge | None = None) -> Judge:
    """A judge trained on a window's pictures, from `start` or from random weights; a bar shows the progress."""
    torch.manual_seed(settings.seed)
    judge = (start or Judge(Names.of_world())).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=settings.learning_rate, weight_decay=0.02)
    step, progress, began = 0, 0.0, time.perf_counter()
    per_shard = INSTANCES_PER_SHARD * VIEWS_PER_INSTANCE
    with tqdm(total=settings.steps, desc="training the judge", unit="step", mininterval=5) as bar:
        while progress < 1:
            window.advance(settings.first_shards + step * settings.batch // (per_shard * settings.reuse))
            rng = np.random.default_rng((settings.seed, step))
            images, shown = window.draw(settings.batch, rng, mostly_grey)
            rate = scheduled_rate(settings.learning_rate, progress, step, settings.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate
            judge.train()
            loss = judge_loss(judge(degraded(images, rng))[1], answers(judge.names, shown))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            minutes = (time.perf_counter() - began) / 60
            progress = minutes / settings.minutes if settings.steps is None else step / settings.steps
            bar.update()
            if step % 50 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}", done=f"{progress:.0%}", refresh=False)
    return judge.eval()


def mostly_grey(count: int, size: int, rng: np.random.Generator) -> Tensor:
    """(count, size, size, 3) backgrounds in 0...1: two of three are plain light greys, about as in `on_grey`."""
    grey = torch.from_numpy(rng.uniform(GREY - 0.1, GREY + 0.1, count)).float().view(-1, 1, 1, 1)
    plain = torch.from_numpy(rng.random(count) < 2 / 3).view(-1, 1, 1, 1)
    return torch.where(plain, grey, random_backgrounds(count, size, rng))


def answers(names: Names, pictures: Sequence[Picture]) -> dict[str, Tensor]:
    """The correct answers: class indices (N,), -1 if the picture cannot tell; for "view" shares (N, 8).

    A view between two bins is shared between them, more of it in the nearer one. Clay shows no colours.
    """
    rows = [names.correct(picture.subject) for picture in pictures]
    correct = {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
    clay = torch.tensor([picture.clay for picture in pictures])
    for name in _COLOURED:
        correct[name] = torch.where(clay, _UNKNOWN, correct[name])
    place = torch.tensor([picture.azimuth for picture in pictures]) / (360 / VIEW_BINS)
    distance = (place[:, None] - torch.arange(VIEW_BINS) + VIEW_BINS / 2) % VIEW_BINS - VIEW_BINS / 2
    correct["view"] = (1 - distance.abs()).clamp(min=0)
    return correct


def judge_loss(logits: dict[str, Tensor], correct: dict[str, Tensor]) -> Tensor:
    """The heads' cross-entropies, weighted by `LOSS_WEIGHTS`; answers of -1 are left out.

    Args:
        logits: from `Judge.forward`.
        correct: from `answers`.
    """
    total = torch.zeros(())
    for name, weight in LOSS_WEIGHTS.items():
        if name == "view":
            of_thing = logits[name][torch.arange(len(correct["thing"])), correct["thing"]]
            total = total + weight * F.cross_entropy(of_thing, correct[name])
            continue
        known = (correct[name] != _UNKNOWN).sum().clamp(min=1)
        total = total + weight * (
            F.cross_entropy(logits[name], correct[name], ignore_index=_UNKNOWN, reduction="sum") / known
        )
    return total


def degraded(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures (N, 3, H, W) in 0...1, degraded at random as a camera or an optimisation might do it.

    Shifted by up to 6 % and zoomed by up to 15 %; half of them blurred (Gaussian, up to 1.3 pixels); brightness,
    contrast and saturation changed by up to 15 % each; half of them with noise of a deviation up to 0.06.
    """
    count = len(images)
    zoom = rng.uniform(0.87, 1.15, count)
    shift = rng.uniform(-0.12, 0.12, (count, 2))
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = torch.from_numpy(zoom)
    affine[:, :, 2] = torch.from_numpy(shift)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    images = _blurred(images, torch.from_numpy(np.where(rng.random(count) < 0.5, 0.0, rng.uniform(0.3, 1.3, count))))
    brightness, contrast, saturation = torch.from_numpy(rng.uniform(0.85, 1.15, (3, count, 1, 1, 1))).float()
    grey = images.mean(dim=1, keepdim=True)
    images = grey + saturation * (images - grey)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    images = brightness * (middle + contrast * (images - middle))
    amount = torch.from_numpy(np.where(rng.random((count, 1, 1, 1)) < 0.5, 0.0, rng.uniform(0, 0.06, (count, 1, 1, 1))))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    return (images + amount.float() * noise).clamp(0, 1)


def _blurred(images: Tensor, sigma: Tensor, reach: int = 3) -> Tensor:
    """Images (N, C, H, W), each blurred by its own Gaussian of `sigma` (N,) pixels; 0 leaves it as it is."""
    steps = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (steps / sigma[:, None].clamp(min=1e-3)) ** 2).float()
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(images.shape[1], dim=0)
    flat = images.flatten(0, 1)[None]
    groups = flat.shape[1]
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel[:, None, None, :], groups=groups)
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel[:, None, :, None], groups=groups)
    return flat[0].unflatten(0, images.shape[:2])


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sdi_engine.evaluation.judge_training", description="Train the judge of the starter world."
    )
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="the .safetensors file to write")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=15.0, help="training time (default 15)")
    length.add_argument("--steps", type=int, help="optimiser steps instead of minutes; repeatable from the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="a trained judge to continue from; choose another --seed")
    parser.add_argument("--shards", type=Path, help="folder to keep the rendered pictures in, for another run")
    options = parser.parse_args(arguments)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    start = load_judge(options.start) if options.start else None
    judge = train(Settings(options.steps, options.minutes, options.seed), pictures_window(options.shards), start)
    judge.fronts = kinds_with_front(judge)
    judge.save(options.output)
    log.info("it tells front from back for: %s", ", ".join(judge.fronts))
    for name, value in accuracy(judge).items():
        log.info("%s: %s", name, value)


if __name__ == "__main__":
    main()
