"""Trains the starter prior: `python -m sdi_engine.starter.train --output DIR --minutes 60`.

On a CPU several processes of one thread each work on a share of every batch, and their gradients are averaged: on two
cores that is twice as fast as one process with two threads. On a GPU one process trains on larger batches, which worker
processes prepare (`batches`). Every step draws its pictures, captions and noise from (seed, step, process), so a
resumed run equals an uninterrupted one. With `--steps` a run can be repeated exactly from its seed and its numbers of
processes and workers; with `--minutes` the learning rate follows the clock instead.

A changed world needs no training from random weights: `--start-from starter` begins with the shipped ones, and a lower
`--rate` keeps what they know. A run that was stopped goes on with the same command and `--resume` instead of
`--start-from`; with fewer `--steps` than before, its learning rate falls sooner.

DIR gets `model/` (the pipeline folder, updated during the training), `state.pt`, `shards/` (pictures for a resumed
run), `loss.jsonl`, `loss.png` and `samples-*.png`.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image, ImageDraw
from safetensors import SafetensorError
from torch import Tensor, distributed, nn
from tqdm import tqdm

from ..config.parameters import STARTER_MODEL
from ..diffusion.location import INDEX_FILE, STARTER_FOLDER
from ..mesh.eight_bit import eight_bit
from . import captions, world
from .batches import Batch, Batches
from .model import Size, StarterModel
from .muon import Muon
from .paint import COLOURS, PATTERNS, WOODEN
from .record import TrainingRun, read_record, write_record
from .settings import Settings
from .world import Item, Subject

log = logging.getLogger(__name__)

GRID_VIEWS = ("front view", "right side view", "back view", "front left view from above")

MODEL_FOLDER = "model"
"""The subfolder of a run's folder that holds the averaged model so far."""

LOSSES = "loss.jsonl"
"""The file in a run's folder with a line for each mean loss."""

_OF_FILES = (OSError, EOFError, SafetensorError, UnpicklingError)
_OF_DAMAGE = (*_OF_FILES, ValueError, KeyError, TypeError, AttributeError, AssertionError, RuntimeError)
"""What reading a damaged model or state comes to."""


class Trainer:
    """A training run that can be stopped and resumed; each process has one.

    Args:
        folder: gets all files of the run.
        size: the networks' size.
        settings: the run's settings.
        rank: number of this process, from 0; process 0 writes the files.
        device: where to train.
    """

    def __init__(
        self,
        folder: Path,
        size: Size,
        settings: Settings,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        torch.manual_seed(settings.seed)
        self.folder, self.settings, self.rank, self.device = folder, settings, rank, torch.device(device)
        self.on_gpu = self.device.type == "cuda"
        if self.on_gpu:
            torch.set_float32_matmul_precision("high")  # TF32 is exact enough for gradients
            torch.backends.cudnn.benchmark = True
        self.batches = Batches(settings, size.resolution, folder / "shards", rank)
        self.model = StarterModel(size).to(self.device)
        if self.on_gpu:  # whose tensor cores take this memory layout; on a CPU it made no clear difference
            self.model.unet.to(memory_format=torch.channels_last)
        if settings.bfloat16 and not self.on_gpu:
            # Torch's fused attention is eight times slower in bfloat16 than in float32 on a CPU.
            self.model.unet.set_attn_processor(AttnProcessor())
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.parameters = list(self.model.parameters())
        hidden = hidden_matrices(self.model)
        others = [parameter for parameter in self.parameters if all(parameter is not matrix for matrix in hidden)]
        self.rate = torch.zeros((), device=self.device)  # a tensor: a captured step would repeat the value of a float
        self.optimizers = (
            Muon(hidden, lr=self.rate, rank=rank, processes=settings.processes),
            torch.optim.AdamW(others, lr=self.rate, weight_decay=0.01, capturable=self.on_gpu),
        )
        self._share_rate()
        self.gradients = Captured(self._gradients, self.on_gpu)
        self.optimize = Captured(self._optimize, self.on_gpu)
        self.step = 0
        self.seconds = 0.0
        self.recent_losses: list[Tensor] = []
        self.earlier: tuple[TrainingRun, ...] = ()

    @property
    def progress(self) -> float:
        """How much of the training is done, 0...1."""
        if self.settings.steps is not None:
            return self.step / self.settings.steps
        return self.seconds / (60 * self.settings.minutes)

    def run(self, stop_after: int | None = None) -> None:
        """Trains to the end, or until step `stop_after`; saves the state and the model."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.settings
        shown = tqdm(
            total=settings.steps,
            initial=self.step,
            desc="training",
            unit="step",
            mininterval=10,
            disable=self.rank > 0,
        )
        with shown as bar:
            earlier = time.perf_counter() - self.seconds
            batches = self.batches.follow(self.step, lambda: self.progress, self.on_gpu)
            while self.progress < 1 and self.step != stop_after:
                batch = next(batches)
                loss = self._train_step(batch, time.perf_counter() - earlier)
                bar.update()
                if self.rank > 0:
                    continue
                self.recent_losses.append(loss)
                if self.step % settings.log_every == 0:
                    bar.set_postfix(loss=f"{self._log():.4f}", done=f"{self.progress:.0%}")
                if self.step % settings.save_every == 0:
                    self.save()
                if self.step % settings.sample_every == 0:
                    self.draw_samples()
        if self.rank == 0:
            self.save()

    def save(self) -> None:
        """Writes the state, the averaged model and the loss curve."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "recent_losses": [float(loss) for loss in self.recent_losses],
            "lesson": self.settings.lesson,
        }
        # The model is written before the state: whoever can resume from a state then finds the size in the model.
        self.average.save(self.folder / MODEL_FOLDER)
        write_record(self.folder / MODEL_FOLDER, [*self.earlier, self._this_run()])
        torch.save(state, self.folder / "state.pt.part")
        (self.folder / "state.pt.part").replace(self.folder / "state.pt")
        draw_loss(self.folder / LOSSES, self.folder / "loss.png")

    def resume(self) -> None:
        """Continues from the state in the folder."""
        state = torch.load(self.folder / "state.pt", weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, its_state in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its_state)
        self._share_rate()
        self.step, self.seconds = state["step"], state["seconds"]
        self.recent_losses = [torch.tensor(loss, device=self.device) for loss in state["recent_losses"]]
        self.settings = replace(self.settings, lesson=state["lesson"])
        self.batches.settings = self.settings
        self.earlier = read_record(self.folder / MODEL_FOLDER)[:-1]
        if self.rank == 0:
            forget_losses_after(self.step, self.folder / LOSSES)

    def start_from(self, folder: Path) -> None:
        """Starts from the weights of a model of the same size that `StarterModel.save` wrote, not from random ones."""
        self.model.load(folder)
        self.average.load_state_dict(self.model.state_dict())
        self.earlier = read_record(folder)

    def draw_samples(self) -> None:
        """Writes a grid of samples: one column per thing, in changing colours and patterns, one row per view."""
        texts = grid_prompts(self.step // self.settings.sample_every)
        images = self.average.sample(texts, self.settings.seed, self.settings.sample_steps)
        save_grid(images, len(world.things()), self.folder / f"samples-{self.step:06d}.png")

    def _this_run(self) -> TrainingRun:
        settings = self.settings
        images = self.step * settings.batch
        return TrainingRun(self.step, images, round(self.seconds, 1), settings.learning_rate, settings.seed)

    def _train_step(self, batch: Batch, seconds: float) -> Tensor:
        loss, *gradients = self.gradients(*self._loss_inputs(batch))
        mean_loss, self.seconds = self._set_mean_gradients(loss, seconds, gradients)
        self._update()
        return mean_loss

    def _loss_inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """The arguments of `StarterModel.loss` for a batch, on the training device."""
        generator = torch.Generator(self.device).manual_seed(batch.noise_seed)
        noise = torch.randn(batch.images.shape, generator=generator, device=self.device)
        images, tokens, timesteps = (tensor.to(self.device, non_blocking=True) for tensor in batch[:3])
        return images.float() / 255, tokens, timesteps, noise

    def _gradients(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The loss, then its gradient with respect to every parameter."""
        # No cache: each weight is read once, and a CUDA graph must not use what was cached before it.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16, cache_enabled=False):
            loss = self.model.loss(*inputs)
        return loss.detach(), *torch.autograd.grad(loss, self.parameters)

    def _set_mean_gradients(self, loss: Tensor, seconds: float, gradients: Sequence[Tensor]) -> tuple[Tensor, float]:
        """Sets every gradient to the mean over all processes; returns their mean loss and process 0's time."""
        if self.settings.processes == 1:
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.grad = gradient
            return loss.clone(), seconds
        numbers = torch.tensor([float(loss), seconds * self.settings.processes if self.rank == 0 else 0.0])
        flat = torch.cat([numbers, *(gradient.flatten() for gradient in gradients)])
        distributed.all_reduce(flat)
        flat /= self.settings.processes
        pieces = flat[2:].split([parameter.numel() for parameter in self.parameters])
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.grad = piece.view(parameter.shape)
        return flat[0].clone(), float(flat[1])  # a view would keep the gradients of every step in memory

    def _update(self) -> None:
        self.rate.fill_(self._learning_rate())
        self.optimize()
        self.step += 1
        self._update_average()

    def _share_rate(self) -> None:
        """Makes all optimisers read `self.rate` itself: they would keep a copy, of their own or from a saved state."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate

    def _optimize(self) -> tuple[Tensor, ...]:
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return ()

    def _learning_rate(self) -> float:
        settings = self.settings
        return scheduled_rate(settings.learning_rate, self.progress, self.step, settings.warm_up)

    @torch.no_grad()
    def _update_average(self) -> None:
        # A low decay at first, or the random initial weights would linger.
        decay = min(self.settings.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), self.parameters, 1 - decay)

    def _log(self) -> float:
        loss = float(torch.stack(self.recent_losses).mean())
        line = {
            "step": self.step,
            "images": self.step * self.settings.batch,
            "loss": round(loss, 6),
            "learning_rate": float(self.rate),
            "seconds": round(self.seconds, 1),
        }
        with (self.folder / LOSSES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.recent_losses = []
        return loss


class Captured:
    """A function replayed as one CUDA graph: launching its many small kernels one by one takes longer than their work.

    The first calls run without a graph: in them libraries choose their kernels and optimisers create their state.

    Args:
        function: takes and returns tensors of the same shapes in every call; other tensors that it reads or changes,
            such as weights, must stay at their addresses.
        on_gpu: whether to use a graph at all.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], on_gpu: bool) -> None:
        self.function, self.on_gpu = function, on_gpu
        self.first_calls = 3
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """What the function returns; with a graph, the next call overwrites it."""
        if not self.on_gpu:
            return self.function(*given)
        if self.first_calls:
            self.first_calls -= 1
            return self.function(*given)
        if self.graph is None:
            self.given = [tensor.clone() for tensor in given]
            self.graph = torch.cuda.CUDAGraph()
            # Capture only this thread's work: another one copies the next batches.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.returned = self.function(*self.given)
        for captured, new in zip(self.given, given, strict=True):
            captured.copy_(new)
        self.graph.replay()
        return self.returned


def hidden_matrices(model: StarterModel) -> list[nn.Parameter]:
    """The weights that Muon updates: matrices and convolutions, except the first and last layers and the embeddings.

    docs/evaluation/settings.md compares this with AdamW for all weights.
    """
    excluded = ("conv_in", "conv_out", "embedding")
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and not any(word in name for word in excluded)
    ]


def scheduled_rate(highest: float, progress: float, step: int, warm_up: int) -> float:
    """The learning rate: linear up to `highest` over `warm_up` steps, times a cosine down to a hundredth of it.

    Args:
        highest: the highest rate.
        progress: share of the training that is done, 0...1.
        step: number of steps done.
        warm_up: number of steps over which the rate rises.
    """
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))
    return highest * (0.01 + 0.99 * cosine) * min(1.0, (step + 1) / warm_up)


def grid_prompts(turn: int) -> list[str]:
    """One prompt for every thing in each of `GRID_VIEWS`; colours and patterns change with `turn`."""
    colours, texts = tuple(COLOURS), []
    for row, view in enumerate(GRID_VIEWS):
        for index, kind in enumerate(world.things()):
            colour = colours[(7 * index + turn + 3 * row) % len(colours)]
            pattern = "plain" if colour == WOODEN else PATTERNS[(index + row + turn) % len(PATTERNS)]
            texts.append(f"{captions.describe(Subject(Item(kind, colour, pattern)))}, {view}")
    return texts


def save_grid(images: Tensor, columns: int, file: Path, zoom: int = 1) -> None:
    """Writes images (N, 3, H, W) in 0...1, row by row in `columns` columns, as one PNG enlarged by `zoom`."""
    rows = images.reshape(-1, columns, *images.shape[1:])
    sheet = rows.permute(0, 3, 1, 4, 2).reshape(rows.shape[0] * rows.shape[3], columns * rows.shape[4], 3)
    picture = Image.fromarray(eight_bit(sheet).numpy())
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.LANCZOS).save(file)


def forget_losses_after(step: int, lines: Path) -> None:
    """Remove the losses of steps that a run which goes on from `step` does again, and a line that was half written."""
    if not lines.exists():
        return
    kept = []
    for line in lines.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            if json.loads(line)["step"] <= step:
                kept.append(f"{line}\n")
    lines.write_text("".join(kept), encoding="utf-8")


def draw_loss(lines: Path, file: Path, width: int = 800, height: int = 400) -> None:
    """Draws loss.jsonl as a curve on a logarithmic axis; does nothing before there are two lines."""
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


@dataclass(frozen=True)
class _Work:
    """The arguments of every process of a training."""

    folder: Path
    size: Size
    settings: Settings
    device: str
    resume: bool
    start_from: Path | None
    rendezvous: Path | None = None


def train(
    folder: Path,
    settings: Settings,
    device: str,
    resume: bool,
    size: Size | None = None,
    start_from: Path | None = None,
) -> None:
    """Runs a whole training in `settings.processes` processes.

    Args:
        folder: gets the model, the state and the pictures.
        settings: the run's settings.
        device: "cpu" or "cuda".
        resume: whether to continue from the state in the folder.
        size: the networks' size; by default that of the model continued or started from, or `Size()`.
        start_from: the folder of a model to begin with, instead of random weights.
    """
    earlier = folder / MODEL_FOLDER if resume else start_from
    if size is None and earlier is not None:
        size = Size.of(earlier)
    work = _Work(folder, size or Size(), settings, device, resume, start_from)
    if settings.processes == 1:
        _do(0, work)
        return
    # On SIGTERM the child processes are ended too, or they would wait for each other for ever.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as scratch:
        work = replace(work, rendezvous=Path(scratch) / "rendezvous")
        torch.multiprocessing.spawn(_do, (work,), nprocs=settings.processes, daemon=True)


def _do(rank: int, work: _Work) -> None:
    """One process's share of the training; several processes find each other through the file `rendezvous`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if work.rendezvous is not None:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo", init_method=work.rendezvous.as_uri(), rank=rank, world_size=work.settings.processes
        )
    trainer = Trainer(work.folder, work.size, work.settings, rank, work.device)
    if work.resume:
        trainer.resume()
    elif work.start_from is not None:
        trainer.start_from(work.start_from)
    trainer.run()
    if rank == 0:
        trainer.draw_samples()
        images = trainer.step * work.settings.batch
        log.info("%d steps, %d images in %.1f minutes", trainer.step, images, trainer.seconds / 60)
    if work.rendezvous is not None:
        distributed.destroy_process_group()


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m sdi_engine.starter.train", description="Train the starter prior.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model, the state and the pictures")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="training time (default 150 on a CPU, 20 on a GPU)")
    length.add_argument("--steps", type=int, help="optimiser steps instead of minutes; repeatable from the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--processes", type=int, help="processes that train together (default 2 on a CPU, 1 on a GPU)")
    parser.add_argument("--batch", type=int, help="pictures a step (default 32 on a CPU, 256 on a GPU)")
    parser.add_argument("--rate", type=float, default=Settings.learning_rate, help="highest learning rate")
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="compute in bfloat16; faster on processors that have instructions for it",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the state in --output")
    parser.add_argument(
        "--start-from",
        type=_model_folder,
        metavar="FOLDER",
        help=f'a starter prior to begin with, instead of random weights; "{STARTER_MODEL}" is the shipped one',
    )
    parser.add_argument(
        "--save-every",
        type=int,
        metavar="STEPS",
        help="steps between saved states (default 500 on a CPU, 5000 on a GPU)",
    )
    parser.add_argument("--workers", type=int, help="processes that render (default 0 on a CPU, cores - 1 on a GPU)")
    options = parser.parse_args(arguments)

    on_cpu = options.device == "cpu"
    # A GPU trains faster than all cores together can render, and frequent saving would take more of its time.
    rest = {} if on_cpu else {"first_shards": 2, "instances": 8, "reuse": 16, "save_every": 5000, "sample_every": 5000}
    if options.save_every is not None:
        rest["save_every"] = options.save_every
    workers = options.workers
    if workers is None:
        workers = 0 if on_cpu else max(1, (os.cpu_count() or 2) - 1)
    settings = Settings(
        steps=options.steps,
        minutes=options.minutes or (150.0 if on_cpu else 20.0),
        seed=options.seed,
        batch=options.batch or (32 if on_cpu else 256),
        processes=options.processes or (2 if on_cpu else 1),
        learning_rate=options.rate,
        bfloat16=options.bfloat16,
        # The model that it starts from has had the lesson.
        lesson=Settings.lesson if options.start_from is None else (0.0, 0.0),
        workers=workers,
        **rest,
    )
    for option, number in (
        ("--steps", options.steps),
        ("--batch", options.batch),
        ("--processes", options.processes),
        ("--save-every", options.save_every),
    ):
        if number is not None and number < 1:
            parser.error(f"{option} is {number}: it must be 1 or more")
    for option, number in (("--minutes", options.minutes), ("--rate", options.rate)):
        if number is not None and not 0.0 < number < math.inf:
            parser.error(f"{option} is {number:g}: it must be more than 0")
    if settings.workers < 0:
        parser.error(f"--workers is {settings.workers}: it must be 0 or more")
    if settings.processes > 1 and not on_cpu:
        parser.error(f"--processes {settings.processes} works on a CPU only: on a GPU leave it out")
    if settings.batch % settings.processes:
        parser.error(f"--batch {settings.batch} cannot be shared by {settings.processes} processes: choose a multiple")
    if options.resume and options.start_from is not None:
        parser.error("give either --resume or --start-from, not both: a resumed run has its weights already")
    if options.resume and not (options.output / "state.pt").is_file():
        parser.error(f'"{options.output}" has no state.pt to resume from: leave --resume out')
    if options.start_from is not None and not (options.start_from / INDEX_FILE).is_file():
        parser.error(f'"{options.start_from}" is no model: give a folder that contains {INDEX_FILE}')
    if options.resume and (reason := _why_not(_read_state, options.output)):
        parser.error(f'"{options.output}" has no whole training to resume ({reason}): start it again without --resume')
    if options.start_from is not None and (reason := _why_not(_read_model, options.start_from)):
        parser.error(f'"{options.start_from}" is no whole starter prior ({reason}): give the folder of another one')
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=options.output).close()
    except OSError as error:
        parser.error(f'"{options.output}" cannot be written ({error.strerror or error}): choose another --output')
    train(options.output, settings, options.device, options.resume, start_from=options.start_from)


def _why_not(read: Callable[[Path], object], folder: Path) -> str:
    """Why what is in a folder cannot be read, in a line; empty if it can."""
    try:
        read(folder)
    except _OF_DAMAGE as error:
        lines = f"{type(error).__name__}: {error}".split("\n")
        return " ".join(line.strip() for line in lines if line.strip())[:300]
    return ""


def _read_model(folder: Path) -> None:
    StarterModel(Size.of(folder)).load(folder)


def _read_state(folder: Path) -> None:
    """Reads what `Trainer.resume` would, with errors as its."""
    read_record(folder / MODEL_FOLDER)
    state = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")
    model = StarterModel(Size.of(folder / MODEL_FOLDER))
    for weights in ("model", "average"):
        model.load_state_dict(state[weights])
    if missing := {"optimizers", "step", "seconds", "recent_losses", "lesson"} - state.keys():
        raise KeyError(*sorted(missing))


def _model_folder(name: str) -> Path:
    return STARTER_FOLDER if name == STARTER_MODEL else Path(name)


if __name__ == "__main__":
    main()
