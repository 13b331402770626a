"""Puts a trained starter prior in its place, with its model card: `python -m sdi_engine.starter.publish RUN`.

RUN is what `train` wrote. The card's numbers come from the run itself; its pictures are drawn anew, none picked.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..diffusion.location import STARTER_FOLDER
from . import captions, dataset, paint, world
from .caption_use import TIMESTEP, caption_use
from .model import GUIDANCE_SCALE, MAX_WEIGHT, PATCH, Size, StarterModel
from .record import Part, read_record, write_record
from .train import MODEL_FOLDER, Settings, draw_loss, save_grid
from .world import Item, Subject

CARD_VIEWS = (
    "front view",
    "front left view",
    "left side view",
    "back view",
    "right side view",
    "front view from above",
)
RECENT_STEPS = 500
MODEL_PARTS = ("tokenizer", "text_encoder", "scheduler", "unet")
"""The folders in a model's folder."""


def publish(run: Path, folder: Path, hardware: str, note: str = "") -> None:
    """Writes the averaged weights, their record, `samples.png`, `views.png`, `loss.png` and the card `README.md`.

    Args:
        run: the folder of a training.
        folder: the pipeline's folder; the model that it holds already is replaced.
        hardware: where the training ran, in words.
        note: what else is to be said of it.
    """
    *earlier, last = read_record(run / MODEL_FOLDER)
    parts = [*earlier, replace(last, hardware=hardware, note=note)]
    model = StarterModel(Size.of(run / MODEL_FOLDER)).eval()
    model.load(run / MODEL_FOLDER)
    for part in MODEL_PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    model.save(folder)
    write_record(folder, parts)
    draw_loss(run / "loss.jsonl", folder / "loss.png")
    things, colours = world.things(), tuple(paint.COLOURS)
    rows = [
        model.sample([f"{_plain(kind, colour)}, front left view" for kind in things], seed=index)
        for index, colour in enumerate(colours)
    ]
    save_grid(torch.cat(rows), len(things), folder / "samples.png")
    rows = [
        model.sample([f"{_patterned(kind, index)}, {view}" for index, kind in enumerate(things)], seed=row)
        for row, view in enumerate(CARD_VIEWS)
    ]
    save_grid(torch.cat(rows), len(things), folder / "views.png")
    (folder / "README.md").write_text(_card(model, parts, run), encoding="utf-8")


def _plain(kind: str, colour: str) -> str:
    return captions.describe(Subject(Item(kind, colour)))


def _patterned(kind: str, index: int) -> str:
    """Another colour and pattern for every thing."""
    colour = tuple(paint.COLOURS)[(5 * index) % len(paint.COLOURS)]
    pattern = "plain" if colour == paint.WOODEN else paint.PATTERNS[index % len(paint.PATTERNS)]
    return captions.describe(Subject(Item(kind, colour, pattern)))


def _card(model: StarterModel, parts: Sequence[Part], run: Path) -> str:
    lines = [json.loads(line) for line in (run / "loss.jsonl").read_text(encoding="utf-8").splitlines()]
    loss = np.mean([line["loss"] for line in lines if line["step"] > parts[-1].steps - RECENT_STEPS])
    steps, images = sum(part.steps for part in parts), sum(part.images for part in parts)
    minutes = sum(part.seconds for part in parts) / 60
    held_out = ", ".join(f"{colour} {kind}" for kind, colour in sorted(dataset.held_out()))
    pairs = ", ".join(f"{upper} on {lower}" for upper, lower in world.PAIRS)
    settings = Settings()
    heard = "\n".join(f"| {caption} | {error:.4f} |" for caption, error in caption_use(model).items())
    return f"""# The starter prior

A small text-to-image diffusion model of our own, so that the engine works offline, without downloading anything. It
knows {len(world.things())} things and nothing else. A real checkpoint takes its place with one setting.

![samples](samples.png)

*One sample each, not picked: a column is a thing, a row is a colour; "front left view", guidance scale
{GUIDANCE_SCALE:g}, 25 DDIM steps.*

| | |
|---|---|
| Things | {", ".join(world.things())} |
| Colours and materials | {", ".join(paint.COLOURS)} |
| Patterns | {", ".join(paint.PATTERNS[1:])} |
| Pairs | {pairs} |
| Views | "front view", "side view", "back view"; with the eight-view vocabulary also left and right, and "from above" |
| Prompt | "a red mug", "a dotted blue car", "a red mug on a wooden table"; "a clay mug" for the bare shape |
| Resolution | {model.size.resolution} × {model.size.resolution} pixels, pixel space: `pixel_unshuffle({PATCH})` folds \
an image into {3 * PATCH**2} channels, there is no VAE |
| Networks | `UNet2DConditionModel`, {_millions(model.unet)} M parameters, float16 in the file; `CLIPTextModel`, 2 \
layers, {_millions(model.text_encoder)} M |
| Predicts | x0 (`prediction_type` "sample"); scaled-linear schedule, 0.00085 to 0.012, 1000 steps, rescaled to end in \
pure noise |
| Files | standard Diffusers folders; weights only as safetensors; `sdi_engine.json` holds hints for the engine |
| Licence | GPL-3.0-or-later, like the code; no data of others went into it |

## Training

Renders of our own procedural world (`world.py`, `kinds/`, `paint.py`, `render.py`), made as the training goes: every
thing has several modes (proportions, parts, patterns that vary in place and size), so that an average of its pictures
is a blur. Random cameras all around, elevation −10° to 50°, field of view 35° to 50°; half of the pictures lit, half in
their bare colours, {dataset.CLAY_SHARE:.0%} without any; {dataset.PAIR_SHARE:.0%} show a pair; plain, graded and soft
environment backgrounds. Captions: 10 % empty; of the others 10 % without a view, 25 % with four view words, 65 % with
eight; 6 % without the colour, 15 % without the article, 6 % with foreign words, which teach the unknown word.

Held out, so that one can see what it makes of new combinations: {held_out}.

{steps:,} steps ({images:,} images) in {minutes:.0f} minutes in all, on what the table says; Muon for
hidden matrices, AdamW for the rest, the learning rate falling with a cosine, running average {settings.decay:g}.
The loss is the squared error of x0, weighted by min(1/b², {MAX_WEIGHT:g}).

{_told(parts)}

The loss of {"the last of these runs" if len(parts) > 1 else "the run"}; its mean over the last {RECENT_STEPS} steps was
{loss:.4f}:

![loss](loss.png)

## What it can and cannot do

How often an independent judge recognises its pictures, and the objects made from it, is measured by
`python -m sdi_engine evaluate`.

![views](views.png)

*A row is a view: {", ".join(CARD_VIEWS)}.*

What it makes of the words, by the squared error of x0 at t = {TIMESTEP / 1000:g} on new pictures of plain things that
do not look the same from all sides. A caption that is as good as the right one has not been understood.

| Told | Error |
|---|---|
{heard}

It has never seen: other things, other colours, materials and styles, elevations above 50° or below −10°, so "overhead
view" means little to it. Words it does not know count as "some unknown word". Details smaller than about three pixels
(a cherry's stem, a door's knob) come and go.
"""


def _told(parts: Sequence[Part]) -> str:
    """The record as a table, each run but the first having started from the weights of the one before."""
    rows = [
        f"| {part.steps:,} | {part.images:,} | {part.seconds / 60:.0f} | {part.learning_rate:g} | {part.seed} "
        f"| {_cell(part.hardware)} | {_cell(part.note)} |"
        for part in parts
    ]
    head = ["| Steps | Images | Minutes | Highest rate | Seed | On | |", "|---:|---:|---:|---:|---:|---|---|"]
    return "\n".join(head + rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _millions(network: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.2f}"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sdi_engine.starter.publish", description="Put a trained starter prior in its place."
    )
    parser.add_argument("run", type=Path, help="the folder that the training wrote")
    parser.add_argument("--to", type=Path, default=STARTER_FOLDER, help="the model's folder (default: the shipped one)")
    parser.add_argument("--hardware", default="2 CPU cores", help="where it was trained, for the card")
    parser.add_argument("--note", default="", help="what else is to be said of the run, for the card")
    options = parser.parse_args(arguments)
    if not read_record(options.run / MODEL_FOLDER):
        parser.error(f'there is no record of a training in "{options.run}": give the folder that the training wrote')
    if options.to.exists() and not read_record(options.to) and any(options.to.iterdir()):
        parser.error(f'"{options.to}" holds something else than a published model: give a new folder')
    publish(options.run, options.to, options.hardware, options.note)


if __name__ == "__main__":
    main()
