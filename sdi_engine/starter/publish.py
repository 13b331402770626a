"""Makes a training run's model the shipped starter prior, with its model card:
`python -m sdi_engine.starter.publish RUN`.

RUN is the folder that `train` wrote. The card's figures come from the run; its pictures are sampled anew, none is
picked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..diffusion.location import STARTER_FOLDER
from . import captions, dataset, paint, world
from .caption_use import TIMESTEP, caption_use
from .model import GUIDANCE_SCALE, MAX_WEIGHT, PATCH, Size, StarterModel
from .record import TrainingRun, read_record, write_record
from .train import LOSSES, MODEL_FOLDER, Settings, draw_loss, save_grid
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
"""Steps at the end of the run over which the card's loss is averaged."""

MODEL_PARTS = ("tokenizer", "text_encoder", "scheduler", "unet")
"""The subfolders of a model's folder."""


def publish(run: Path, folder: Path, hardware: str, note: str = "") -> None:
    """Writes the averaged weights, their record, `samples.png`, `views.png`, `loss.png` and the card `README.md`.

    Args:
        run: a training run's folder.
        folder: where to write the pipeline; it replaces a model that is there.
        hardware: the machine that trained it, in words.
        note: remarks for the model card.
    """
    *earlier, last = read_record(run / MODEL_FOLDER)
    record = [*earlier, replace(last, hardware=hardware, note=note)]
    model = StarterModel(Size.of(run / MODEL_FOLDER)).eval()
    model.load(run / MODEL_FOLDER)
    # Saved whole before the model that is there gives way: a full disk then leaves that one as it is.
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as new:
        model.save(Path(new))
        for part in MODEL_PARTS:
            shutil.rmtree(folder / part, ignore_errors=True)
        for saved in Path(new).iterdir():
            saved.replace(folder / saved.name)
    write_record(folder, record)
    draw_loss(run / LOSSES, folder / "loss.png")
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
    (folder / "README.md").write_text(_card(model, record, run), encoding="utf-8")


def _plain(kind: str, colour: str) -> str:
    return captions.describe(Subject(Item(kind, colour)))


def _patterned(kind: str, index: int) -> str:
    """A caption whose colour and pattern change with `index`."""
    colour = tuple(paint.COLOURS)[(5 * index) % len(paint.COLOURS)]
    pattern = "plain" if colour == paint.WOODEN else paint.PATTERNS[index % len(paint.PATTERNS)]
    return captions.describe(Subject(Item(kind, colour, pattern)))


def _card(model: StarterModel, record: Sequence[TrainingRun], run: Path) -> str:
    lines = [json.loads(line) for line in (run / LOSSES).read_text(encoding="utf-8").splitlines()]
    loss = np.mean([line["loss"] for line in lines if line["step"] > record[-1].steps - RECENT_STEPS])
    steps, images = sum(one.steps for one in record), sum(one.images for one in record)
    minutes = sum(one.seconds for one in record) / 60
    held_out = ", ".join(f"{colour} {kind}" for kind, colour in sorted(dataset.held_out()))
    pairs = ", ".join(f"{upper} on {lower}" for upper, lower in world.PAIRS)
    settings = Settings()
    errors = "\n".join(f"| {caption} | {error:.4f} |" for caption, error in caption_use(model).items())
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
| Licence | GPL-3.0-or-later, like the code; no third-party data was used |

## Training

Renders of our own procedural world (`world.py`, `kinds/`, `paint.py`, `render.py`), made during the training: every
thing has two to four clearly different modes (a tall narrow house, a squat cottage, two storeys under a hipped roof),
and patterns vary in place, size and direction, so that an average of its pictures is a blur. Random cameras all around,
elevation −10° to 50°, field of view 35° to 50°; half of the pictures lit, half in their bare colours,
{dataset.CLAY_SHARE:.0%} without any; {dataset.PAIR_SHARE:.0%} show a pair; plain, graded and soft environment
backgrounds. Captions: 10 % empty; of the others 10 % without a view, 25 % with four view words, 65 % with eight; 6 %
without the colour, 15 % without the article, 6 % with foreign words, which teach the unknown word.

Held out, to show how it handles new combinations: {held_out}.

{steps:,} steps ({images:,} images) in {minutes:.0f} minutes in all, on the hardware in the table; Muon for
hidden matrices, AdamW for the rest, a cosine learning-rate schedule, running average {settings.decay:g}.
The loss is the squared error of x0, weighted by min(1/b², {MAX_WEIGHT:g}).

{_table(record)}

The loss of {"the last of these runs" if len(record) > 1 else "the run"}; its mean over the last {RECENT_STEPS} steps
was {loss:.4f}:

![loss](loss.png)

## What it can and cannot do

How often an independent judge recognises its pictures, and the objects made from it, is measured by
`python -m sdi_engine evaluate`.

![views](views.png)

*A row is a view: {", ".join(CARD_VIEWS)}.*

How far it relies on each word: the squared error of x0 at t = {TIMESTEP / 1000:g} on new pictures of plain things that
do not look the same from all sides. Where a wrong caption does as well as the true one, the word has not been learnt.

| Caption | Error |
|---|---|
{errors}

It has never seen other things, other colours, materials or styles, or elevations above 50° or below −10°, so "overhead
view" means little to it. Every word it does not know is the same unknown word to it. Details smaller than about three
pixels (a cherry's stem, a door's knob) come and go.
"""


def _table(record: Sequence[TrainingRun]) -> str:
    """The record as a table; each run but the first started from the weights of the one before."""
    rows = [
        f"| {run.steps:,} | {run.images:,} | {run.seconds / 60:.0f} | {run.learning_rate:g} | {run.seed} "
        f"| {_cell(run.hardware)} | {_cell(run.note)} |"
        for run in record
    ]
    head = [
        "| Steps | Images | Minutes | Highest rate | Seed | Hardware | Note |",
        "|---:|---:|---:|---:|---:|---|---|",
    ]
    return "\n".join(head + rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _millions(network: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.2f}"


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sdi_engine.starter.publish", description="Make a run's model the shipped starter prior."
    )
    parser.add_argument("run", type=Path, help="the folder that the training wrote")
    parser.add_argument(
        "--to", type=Path, default=STARTER_FOLDER, help="the model's folder (default: the shipped model)"
    )
    parser.add_argument("--hardware", default="2 CPU cores", help="where it was trained, for the card")
    parser.add_argument("--note", default="", help="remarks on the run, for the card")
    options = parser.parse_args(arguments)
    if not read_record(options.run / MODEL_FOLDER):
        parser.error(f'"{options.run}" has no record of a training: give the folder that the training wrote')
    if options.to.exists() and not read_record(options.to) and any(options.to.iterdir()):
        parser.error(f'"{options.to}" is not empty and holds no published model: give a new folder')
    publish(options.run, options.to, options.hardware, options.note)


if __name__ == "__main__":
    main()
