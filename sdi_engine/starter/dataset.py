"""The starter prior's training pictures: rendered once, kept in memory, laid over random backgrounds when used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from . import captions, world
from .render import POINTS, composite, render, sample_surface, soft_light, training_cameras

RESOLUTION = 64


@dataclass(frozen=True)
class Pictures:
    """Renders of the world.

    Attributes:
        rgba: (N, H, W, 4) uint8, premultiplied.
        thing: (N,) int64, indices into `world.things()`.
        colour: (N,) int64, indices into `world.COLOURS`.
        azimuth: (N,) float32 degrees.
        elevation: (N,) float32 degrees.
    """

    rgba: np.ndarray
    thing: np.ndarray
    colour: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray

    def __len__(self) -> int:
        return len(self.rgba)

    def batch(self, count: int, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        """Random pictures (count, 3, H, W) float32 in 0...1 on random backgrounds, and captions for them."""
        chosen = rng.integers(0, len(self), count)
        things, colours = world.things(), tuple(world.COLOURS)
        texts = [
            captions.training_caption(
                things[self.thing[i]], colours[self.colour[i]], float(self.azimuth[i]), float(self.elevation[i]), rng
            )
            for i in chosen
        ]
        pictures = torch.from_numpy(self.rgba[chosen]).float() / 255
        images = composite(pictures, random_backgrounds(count, self.rgba.shape[1], rng))
        return images.permute(0, 3, 1, 2).contiguous(), texts


def random_backgrounds(count: int, size: int, rng: np.random.Generator) -> Tensor:
    """(count, size, size, 3) backgrounds in 0...1: a third grey or white, a third coloured, a third soft gradients."""
    grey = np.repeat(rng.uniform(0.25, 1.0, (count, 1)), 3, axis=1)
    grey[rng.random(count) < 0.3] = 1.0
    style = rng.random(count)
    first = np.where(style[:, None] < 0.35, grey, rng.uniform(0, 1, (count, 3)))
    second = np.where(style[:, None] < 0.68, first, 0.5 * first + 0.5 * rng.uniform(0, 1, (count, 3)))
    angle = rng.uniform(0, 2 * np.pi, count)
    line = np.linspace(-0.5, 0.5, size)
    slope = np.cos(angle)[:, None, None] * line[None, None, :] + np.sin(angle)[:, None, None] * line[None, :, None]
    mix = np.clip(slope + 0.5, 0, 1)[..., None]
    gradients = first[:, None, None] * (1 - mix) + second[:, None, None] * mix
    return torch.from_numpy(gradients).float()


def render_pictures(
    variants: int, views: int, seed: int, size: int = RESOLUTION, threads: int = 1, progress: bool = False
) -> Pictures:
    """Renders every thing in every colour.

    Args:
        variants: random proportions of each thing in each colour.
        views: pictures of each variant; half are lit, half show the bare colours.
        seed: decides proportions, cameras and light; the result does not depend on `threads`.
        size: pixels.
        threads: renders that run at a time.
        progress: whether to show a progress bar.
    """
    jobs = [(t, c, v) for t in range(len(world.things())) for c in range(len(world.COLOURS)) for v in range(variants)]
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(max_workers=threads) as pool:
            rendered = pool.map(lambda job: _render_variant(*job, views=views, seed=seed, size=size), jobs)
            shown = tqdm(rendered, total=len(jobs), desc="rendering", unit="thing", disable=not progress)
            rgba, azimuth, elevation = (np.concatenate(part) for part in zip(*shown, strict=True))
    finally:
        torch.set_num_threads(torch_threads)
    thing, colour, _ = np.repeat(np.array(jobs, dtype=np.int64), views, axis=0).T
    return Pictures(rgba, thing, colour, azimuth, elevation)


def cached_pictures(file: Path, variants: int, views: int, seed: int, threads: int, size: int = RESOLUTION) -> Pictures:
    """`render_pictures`, kept in an .npz file for the next start of the same training."""
    fingerprint = np.array([variants, views, seed, size, len(world.things()), len(world.COLOURS)])
    names = ("rgba", "thing", "colour", "azimuth", "elevation")
    if file.exists():
        with np.load(file) as stored:
            if np.array_equal(stored["fingerprint"], fingerprint):
                return Pictures(*(stored[name] for name in names))
    pictures = render_pictures(variants, views, seed, size, threads, progress=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, fingerprint=fingerprint, **{name: getattr(pictures, name) for name in names})
    return pictures


def _render_variant(
    thing: int, colour: int, variant: int, views: int, seed: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng((seed, thing, colour, variant))
    points = max(POINTS * size**2 // RESOLUTION**2, 1000)
    surface = sample_surface(world.make_thing(world.things()[thing], tuple(world.COLOURS)[colour], rng), points)
    cameras = training_cameras(views, rng)
    light = soft_light(cameras, rng)
    half = views // 2
    bare = render(surface, cameras[:half], size)
    lit = render(surface, cameras[half:], size, light[half:])
    rgba = (torch.cat([bare, lit]) * 255).round().to(torch.uint8).numpy()
    return rgba, cameras.azimuth.numpy(), cameras.elevation.numpy()
