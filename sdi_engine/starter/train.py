"""Trains the starter prior: `python -m sdi_engine.starter.train --output DIR --minutes 60`.

Renders the world once, then teaches `model.StarterModel` to denoise it. Every step draws its pictures, captions and
noise from (seed, step), so a resumed run equals an uninterrupted one; with `--steps` a run repeats from its seed, with
`--minutes` the learning rate follows the clock instead.

DIR gets `model/` (the pipeline folder, refreshed as the training goes), `state.pt`, `loss.jsonl`, `loss.png` and
`samples-*.png`.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from tqdm import tqdm

from . import captions, world
from .dataset import Pictures, cached_pictures
from .model import Size, StarterModel

log = logging.getLogger(__name__)

GRID_VIEWS = ("front view", "right side view", "back view", "front left view from above")


@dataclass(frozen=True)
class Settings:
    """What decides a training run.

    Attributes:
        steps: optimiser steps, or None to train for `minutes`.
        minutes: training time on the clock, for `steps` None.
        seed: of everything random.
        batch: pictures a step.
        parts: pieces of a batch that are worked on at a time, each by one thread; 1 uses torch's own threads.
        learning_rate: the highest, reached after `warm_up` steps; a cosine takes it to a hundredth.
        warm_up: steps.
        decay: of the running average of the weights.
        log_every: steps between lines of loss.jsonl.
        save_every: steps between saved states and refreshed models.
        sample_every: steps between sample grids.
    """

    steps: int | None = None
    minutes: float = 60.0
    seed: int = 0
    batch: int = 32
    parts: int = 2
    learning_rate: float = 8e-4
    warm_up: int = 100
    decay: float = 0.998
    log_every: int = 20
    save_every: int = 250
    sample_every: int = 500


class Trainer:
    """A training run that can be stopped and resumed.

    Args:
        folder: where everything is kept.
        pictures: the training set.
        size: of the networks.
        settings: of the run.
    """

    def __init__(self, folder: Path, pictures: Pictures, size: Size, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.folder, self.pictures, self.settings = folder, pictures, settings
        self.model = StarterModel(size)
        # Convolutions on a CPU are a little faster on this memory layout.
        self.model.unet.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=settings.learning_rate, weight_decay=0.01)
        self.step = 0
        self.seconds = 0.0
        self.recent_losses: list[float] = []

    @property
    def progress(self) -> float:
        """How much of the training is done, 0...1."""
        if self.settings.steps is not None:
            return self.step / self.settings.steps
        return self.seconds / (60 * self.settings.minutes)

    def run(self, stop_after: int | None = None) -> None:
        """Trains to the end, or up to a step; saves the state and the model."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.settings
        with (
            ThreadPoolExecutor(settings.parts) as pool,
            tqdm(total=settings.steps, initial=self.step, desc="training", unit="step", mininterval=10) as bar,
        ):
            earlier = time.perf_counter() - self.seconds
            while self.progress < 1 and self.step != stop_after:
                self.recent_losses.append(self._train_step(pool))
                self.seconds = time.perf_counter() - earlier
                bar.update()
                if self.step % settings.log_every == 0:
                    bar.set_postfix(loss=f"{self._log():.4f}", done=f"{self.progress:.0%}")
                if self.step % settings.save_every == 0:
                    self.save()
                if self.step % settings.sample_every == 0:
                    self.draw_samples()
        self.save()

    def save(self) -> None:
        """Writes the state, the averaged model and the loss curve."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "recent_losses": self.recent_losses,
        }
        torch.save(state, self.folder / "state.pt.part")
        (self.folder / "state.pt.part").replace(self.folder / "state.pt")
        self.average.save(self.folder / "model")
        draw_loss(self.folder / "loss.jsonl", self.folder / "loss.png")

    def resume(self) -> None:
        """Continues from the state in the folder."""
        state = torch.load(self.folder / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.recent_losses = state["recent_losses"]

    def draw_samples(self) -> None:
        """Writes a picture of samples: a thing a column, in changing colours, one row a view."""
        colours = tuple(world.COLOURS)
        shift = self.step // self.settings.sample_every
        texts = [
            f"{captions.describe(thing, colours[(index + shift) % len(colours)])}, {view}"
            for view in GRID_VIEWS
            for index, thing in enumerate(world.things())
        ]
        save_grid(
            self.average.sample(texts, self.settings.seed, steps=20),
            len(world.things()),
            self.folder / f"samples-{self.step:06d}.png",
        )

    def _train_step(self, pool: ThreadPoolExecutor) -> float:
        settings = self.settings
        rng = np.random.default_rng((settings.seed, self.step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        images, texts = self.pictures.batch(settings.batch, rng)
        noise = torch.randn(images.shape, generator=generator)
        timesteps = torch.randint(
            0, self.model.scheduler.config.num_train_timesteps, (len(images),), generator=generator
        )

        def part(rows: slice) -> tuple[float, Sequence[Tensor]]:
            loss = self.model.loss(images[rows], texts[rows], timesteps[rows], noise[rows])
            share = len(texts[rows]) / len(texts)
            return loss.item() * share, torch.autograd.grad(loss * share, self.parameters)

        size = math.ceil(settings.batch / settings.parts)
        rows = [slice(start, start + size) for start in range(0, settings.batch, size)]
        losses, gradients = zip(*pool.map(part, rows), strict=True)
        for parameter, *shares in zip(self.parameters, *gradients, strict=True):
            parameter.grad = torch.stack(shares).sum(dim=0) if len(shares) > 1 else shares[0]
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return sum(losses)

    def _learning_rate(self) -> float:
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(self.progress, 1.0))
        return self.settings.learning_rate * (0.01 + 0.99 * cosine) * min(1.0, (self.step + 1) / self.settings.warm_up)

    @torch.no_grad()
    def _update_average(self) -> None:
        # A short memory at first, or the random initial weights would linger.
        decay = min(self.settings.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), self.parameters, 1 - decay)

    def _log(self) -> float:
        loss = float(np.mean(self.recent_losses))
        line = {
            "step": self.step,
            "images": self.step * self.settings.batch,
            "loss": round(loss, 6),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.seconds, 1),
        }
        with (self.folder / "loss.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.recent_losses = []
        return loss


def save_grid(images: Tensor, columns: int, file: Path, zoom: int = 2) -> None:
    """Writes images (N, 3, H, W) in 0...1, row by row, as one PNG."""
    rows = images.reshape(-1, columns, *images.shape[1:])
    sheet = rows.permute(0, 3, 1, 4, 2).reshape(rows.shape[0] * rows.shape[3], columns * rows.shape[4], 3)
    picture = Image.fromarray((sheet * 255).round().to(torch.uint8).cpu().numpy())
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.LANCZOS).save(file)


def draw_loss(lines: Path, file: Path, width: int = 800, height: int = 400) -> None:
    """Draws loss.jsonl as a curve on a logarithmic axis; nothing to draw is no error."""
    if not lines.exists():
        return
    entries = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    if len(entries) < 2:
        return
    steps = np.array([entry["step"] for entry in entries], dtype=float)
    losses = np.log10([max(entry["loss"], 1e-6) for entry in entries])
    low, high = losses.min(), max(losses.max(), losses.min() + 1e-3)
    margin = 40
    x = margin + (steps - steps[0]) / (steps[-1] - steps[0]) * (width - 2 * margin)
    y = margin + (high - losses) / (high - low) * (height - 2 * margin)
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((margin, margin, width - margin, height - margin), outline="grey")
    draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill="navy", width=2)
    draw.text((4, margin), f"{10**high:.3f}", fill="black")
    draw.text((4, height - margin - 10), f"{10**low:.3f}", fill="black")
    draw.text((margin, height - margin + 8), f"loss against steps, {steps[0]:.0f} to {steps[-1]:.0f}", fill="black")
    picture.save(file)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m sdi_engine.starter.train", description="Train the starter prior.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model, the state and the pictures")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=60.0, help="training time, after rendering (default 60)")
    length.add_argument("--steps", type=int, help="optimiser steps instead of minutes; repeatable from the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="batches are split into this many parts (default 2)")
    parser.add_argument("--batch", type=int, default=Settings.batch, help=f"pictures a step (default {Settings.batch})")
    parser.add_argument("--variants", type=int, default=8, help="proportions of a thing in a colour (default 8)")
    parser.add_argument("--views", type=int, default=48, help="pictures of each (default 48)")
    parser.add_argument("--resume", action="store_true", help="continue from the state in --output")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    # Whole parts of the batch run side by side, each on one thread: less waiting than threads within each operation.
    torch.set_num_threads(1)
    pictures = cached_pictures(
        options.output / "pictures.npz", options.variants, options.views, options.seed, options.threads
    )
    settings = Settings(
        steps=options.steps, minutes=options.minutes, seed=options.seed, batch=options.batch, parts=options.threads
    )
    trainer = Trainer(options.output, pictures, Size(), settings)
    if options.resume:
        trainer.resume()
    trainer.run()
    trainer.draw_samples()
    log.info("%d steps, %d images in %.1f minutes", trainer.step, trainer.step * settings.batch, trainer.seconds / 60)


if __name__ == "__main__":
    main()
