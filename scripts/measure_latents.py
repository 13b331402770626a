"""Measures what the starter prior would gain and lose with a VAE at 128 px, as Stable Diffusion has, instead of 64 px.

    python scripts/measure_latents.py --minutes 20

Trains a small `AutoencoderKL` (eight pixels per cell, four channels, so that the U-Net gets as many cells as now) on
the starter world on one thread (for so much processor time, so that other load does not matter). Prints, from one run:
the error of its reconstructions; how often the judge recognises them, compared with the originals and with 64 px, which
is an upper bound for pictures that a model in these latents could make. What a step costs besides the U-Net says
`python -m sdi_engine bench --resolution 128`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sdi_engine.evaluation.accuracy import random_subject
from sdi_engine.evaluation.judge import Judge, load_judge
from sdi_engine.evaluation.pictures import on_grey, render_around
from sdi_engine.starter import world
from sdi_engine.starter.dataset import Window
from sdi_engine.starter.render import POINTS_PER_AREA, sample_surface

LARGE, SMALL = 128, 64
BATCH = 8
SUBJECTS = 60
KL_WEIGHT = 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="processor time to train the VAE for")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=LARGE,
    )
    steps = train(vae, options.minutes)
    print(f"VAE: {sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters, {steps * BATCH} pictures")
    report_reconstructions(vae, load_judge())


def train(vae: AutoencoderKL, minutes: float) -> int:
    """Minimises the absolute error for `minutes` of processor time; returns the number of steps."""
    window = Window(seed=40_000_003, size=LARGE, instances=24, capacity=24)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3)
    step, began, progress = 0, time.process_time(), 0.0
    with tqdm(desc="training the VAE", unit="step", mininterval=10) as bar:
        while progress < 1:
            window.advance(6 + step * BATCH // (24 * 12 * 4))
            images, _ = window.draw(BATCH, np.random.default_rng((1, step)))
            posterior = vae.encode(2 * images - 1).latent_dist
            loss = F.l1_loss(vae.decode(posterior.sample()).sample, 2 * images - 1) + KL_WEIGHT * posterior.kl().mean()
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * max(0.02, 1 - progress)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            progress = (time.process_time() - began) / (60 * minutes)
            bar.update()
    return step


@torch.no_grad()
def report_reconstructions(vae: AutoencoderKL, judge: Judge) -> None:
    """Prints the peak signal-to-noise ratio and the judge's accuracy, on single pictures of new subjects."""
    rng = np.random.default_rng(50_000_017)
    right = {name: [] for name in ("64 px", "128 px", "128 px through the VAE")}
    errors = []
    for index in range(SUBJECTS):
        subject = random_subject(index, rng)
        surface = sample_surface(world.make_instance(subject, rng), (LARGE / SMALL) ** 2 * POINTS_PER_AREA)
        large = on_grey(render_around(surface, size=LARGE))
        through = ((vae.decode(vae.encode(2 * large - 1).latent_dist.mode()).sample + 1) / 2).clamp(0, 1)
        errors.append((through - large).square().mean().item())
        answers = judge.names.correct(subject)
        for name, images in (
            ("64 px", on_grey(render_around(surface, size=SMALL))),
            ("128 px", _shrunk(large)),
            ("128 px through the VAE", _shrunk(through)),
        ):
            verdict = judge.assess(images)
            correct = [getattr(verdict, head).argmax(dim=1) == answers[head] for head in ("thing", "colour", "pattern")]
            right[name].append(torch.stack(correct).float().mean(dim=1))
    print(f"reconstruction: {-10 * np.log10(np.mean(errors)):.1f} dB")
    for name, shares in right.items():
        thing, colour, pattern = (100 * torch.stack(shares).mean(dim=0)).tolist()
        print(f"judge, {name}: thing {thing:.1f} %, colour {colour:.1f} %, pattern {pattern:.1f} %")


def _shrunk(images: Tensor) -> Tensor:
    return F.interpolate(images, size=(SMALL, SMALL), mode="area")


if __name__ == "__main__":
    main()
