"""How much a prior relies on its captions: how much its error grows with a wrong one.

A word that makes no difference has not been learnt, and samples hardly show that: a car drawn from the left still looks
like a good car when the right side was asked for, but objects made of such pictures come out wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from . import captions, dataset
from .dataset import SIDED, Picture, Window
from .model import StarterModel, fold
from .paint import COLOURS, WOODEN
from .world import Item, Subject

TIMESTEP = 800
"""A noise level at which too little of the picture is left to do without the caption."""

SEED = 40_000_003

TRUE = "the true caption"


@torch.no_grad()
def caption_use(model: StarterModel, pictures: int = 128, instances: int = 60, views: int = 4) -> dict[str, float]:
    """The mean squared error of x0 at `TIMESTEP` for each kind of caption, `TRUE` first.

    The pictures show plain single things that do not look the same from all sides, on light grey, and were not trained
    on; every kind of caption is tried on the same pictures with the same noise.

    Args:
        model: the model to measure; it is put into evaluation mode.
        pictures: number of pictures.
        instances: subjects rendered for them.
        views: renders of each subject.
    """
    model.eval()
    window = Window(SEED, size=model.size.resolution, instances=instances, views=views)
    window.advance(1)
    rng = np.random.default_rng(SEED)
    images, shown = window.draw(pictures, rng, dataset.light_greys, dataset.views_to_learn)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(SEED))
    device = model.unet.device
    timesteps = torch.full((pictures,), TIMESTEP, device=device)
    x0 = fold(2 * images - 1).to(device)
    x = model.scheduler.add_noise(x0, fold(noise).to(device), timesteps)

    def error(texts: list[str]) -> float:
        return float((model.unet(x, timesteps, model.encode_text(texts)).sample - x0).square().mean())

    captions_by_kind = {
        TRUE: [picture.caption() for picture in shown],
        "no view": [captions.describe(picture.subject) for picture in shown],
        "the view from the opposite side": [picture.caption(turned=180.0) for picture in shown],
        "another colour": [_other_colour(picture).caption() for picture in shown],
        "another thing": [_other_thing(picture).caption() for picture in shown],
        "no caption": [""] * pictures,
    }
    return {kind: error(texts) for kind, texts in captions_by_kind.items()}


def _other_colour(picture: Picture) -> Picture:
    colours = [name for name in COLOURS if name != WOODEN]
    item = picture.subject.thing
    other = colours[(colours.index(item.colour) + 1) % len(colours)]
    return replace(picture, subject=Subject(Item(item.kind, other, item.pattern)))


def _other_thing(picture: Picture) -> Picture:
    item = picture.subject.thing
    other = SIDED[(SIDED.index(item.kind) + 1) % len(SIDED)]
    return replace(picture, subject=Subject(Item(other, item.colour, item.pattern)))
