"""The starter prior's training pictures: rendered during the training, coloured and given a background at each use.

Pictures come in an endless sequence of shards; shard k depends on (seed, k) alone. A training step draws from a window
of recent shards, so new pictures replace old ones, while each picture serves many steps: it is kept as layers
(`render.render_layers`) and gets other colours, another background and another caption every time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config.backgrounds import DARKEST_GREY, WHITE_SHARE
from ..diffusion.views import view_words, with_view
from . import captions, world
from .paint import COLOURS, PATTERNS, WOODEN
from .render import (
    POINTS_PER_AREA,
    Light,
    colour_layers,
    composite,
    random_light,
    render_layers,
    sample_surface,
    training_cameras,
)
from .world import Item, Subject

RESOLUTION = 64
INSTANCES_PER_SHARD = 64
VIEWS_PER_INSTANCE = 12
PAIR_SHARE = 0.2
"""Share of the subjects that are pairs."""

CLAY_SHARE = 0.04
"""Share of the pictures that show the bare shape."""

SIDED = (
    "airplane", "bed", "bird", "boat", "car", "chair", "fish", "house", "mug", "rabbit", "robot", "snowman", "sofa",
    "teapot",
)  # fmt: skip
"""Kinds that do not look the same from all sides."""

_SIDE_AZIMUTHS = (90.0, 270.0)
_SIDE_WIDTH = 22.5
_LESSON_GREYS = (0.5, 1.0)
_LESSON_EMPTY_CAPTIONS = 0.05

_SURFACES = (*PATTERNS, WOODEN)
_SURFACE_SHARES = (0.44, 0.16, 0.16, 0.16, 0.08)
_CLAY = 0.9
_NO_BASE = -1


def held_out() -> frozenset[tuple[str, str]]:
    """The pairs of thing and colour that no training picture shows: one pair for every second kind of thing."""
    colours = tuple(COLOURS)
    return frozenset((kind, colours[(5 * index + 2) % len(colours)]) for index, kind in enumerate(world.things()[::2]))


@dataclass(frozen=True)
class Shard:
    """Renders of random subjects.

    Attributes:
        layers: (N, H, W, 8) uint8, from `render_layers`.
        kinds: (N, 2) int64, indices into `world.things()` of the thing and its base, which is -1 for a thing alone.
        surfaces: (N, 2) int64, indices into `PATTERNS`, followed by one for wood.
        clay: (N,) bool, whether the bare shape is shown.
        azimuth: (N,) float32 degrees.
        elevation: (N,) float32 degrees.
    """

    layers: np.ndarray
    kinds: np.ndarray
    surfaces: np.ndarray
    clay: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray

    def __len__(self) -> int:
        return len(self.layers)


@dataclass(frozen=True)
class Picture:
    """What one drawn picture shows.

    Attributes:
        subject: the thing, with its base if it has one.
        azimuth: of the camera, in degrees.
        elevation: of the camera, in degrees.
        clay: whether it shows the bare shape, white and shaded.
    """

    subject: Subject
    azimuth: float
    elevation: float
    clay: bool

    def caption(self, turned: float = 0.0) -> str:
        """A full caption, with one of the eight views; that of a camera `turned` degrees further around the thing."""
        words = view_words(self.azimuth + turned, self.elevation, "eight")
        return with_view(captions.describe(self.subject), words)


def render_shard(
    seed: int,
    index: int,
    size: int = RESOLUTION,
    instances: int = INSTANCES_PER_SHARD,
    views: int = VIEWS_PER_INSTANCE,
    device: torch.device | str = "cpu",
    excluded: frozenset[tuple[str, str]] | None = None,
) -> Shard:
    """Renders one shard.

    Args:
        seed: the training set's seed.
        index: number of the shard, from 0.
        size: height and width of the pictures in pixels.
        instances: number of subjects.
        views: pictures of each subject, each with its own camera and light.
        device: where to render.
        excluded: pairs of thing and colour to leave out, `held_out()` by default.
    """
    excluded = held_out() if excluded is None else excluded
    rng = np.random.default_rng((seed, index))
    density = POINTS_PER_AREA * size**2 / RESOLUTION**2
    parts = []
    for _ in range(instances):
        subject, surfaces = _random_subject(rng, excluded)
        instance = world.make_instance(subject, rng)
        cameras = training_cameras(views, rng)
        light = random_light(cameras, rng)
        clay = torch.from_numpy(rng.random(views) < CLAY_SHARE)
        # Without a texture only the shading shows the shape.
        light = replace(light, ambient=torch.where(clay, light.ambient.clamp(max=0.5), light.ambient))
        surface = sample_surface(instance, density).to(device)
        white = torch.zeros_like(surface.coefficients)
        white[:, :3] = _CLAY
        layers = torch.empty(views, size, size, 8)
        for chosen, painted in ((~clay, surface), (clay, replace(surface, coefficients=white))):
            if chosen.any():
                lit = Light(light.direction[chosen], light.ambient[chosen]).to(device)
                layers[chosen] = render_layers(painted, cameras[chosen].to(device), size, lit).cpu()
        kinds = [world.things().index(item.kind) for item in subject.items]
        parts.append(
            (
                (layers * 255).round().clamp(0, 255).to(torch.uint8).numpy(),
                np.tile([*kinds, _NO_BASE][:2], (views, 1)),
                np.tile(surfaces, (views, 1)),
                clay.numpy(),
                cameras.azimuth.numpy(),
                cameras.elevation.numpy(),
            )
        )
    return Shard(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Window:
    """The recent shards that training pictures are drawn from.

    Args:
        seed: the training set's seed.
        folder: where to keep shards for a resumed run, or None to keep none.
        first: number of this window's first shard.
        every: step between this window's shard numbers; with different `first`, several processes share the sequence.
        size: height and width of the pictures in pixels.
        capacity: the most shards kept in memory.
        instances: subjects in a shard.
        views: pictures of each subject.
        device: where to render.
        excluded: pairs of thing and colour to leave out, `held_out()` by default.
    """

    def __init__(
        self,
        seed: int,
        folder: Path | None = None,
        first: int = 0,
        every: int = 1,
        size: int = RESOLUTION,
        capacity: int = 32,
        instances: int = INSTANCES_PER_SHARD,
        views: int = VIEWS_PER_INSTANCE,
        device: torch.device | str = "cpu",
        excluded: frozenset[tuple[str, str]] | None = None,
    ) -> None:
        self.seed, self.folder, self.first, self.every = seed, folder, first, every
        self.size, self.capacity, self.device = size, capacity, device
        self.instances, self.views = instances, views
        self.shards: dict[int, Shard] = {}
        self.excluded = held_out() if excluded is None else excluded

    def advance(self, count: int) -> None:
        """Keeps the last `capacity` of this window's first `count` shards; renders missing ones, drops older ones."""
        numbers = [self.first + self.every * k for k in range(max(0, count - self.capacity), count)]
        for number in set(self.shards) - set(numbers):
            del self.shards[number]
            if self.folder is not None:
                self._file(number).unlink(missing_ok=True)
        for number in numbers:
            if number not in self.shards:
                self.shards[number] = self._load(number)

    def draw(
        self,
        count: int,
        rng: np.random.Generator,
        backgrounds: Callable[..., Tensor] | None = None,
        rows: Callable[[Shard], np.ndarray] | None = None,
    ) -> tuple[Tensor, list[Picture]]:
        """Random pictures (count, 3, H, W) in 0...1, newly coloured; and what they show.

        Args:
            count: number of pictures.
            rng: makes the random choices.
            backgrounds: makes the backgrounds, from (count, size, rng); `random_backgrounds` by default.
            rows: the rows of a shard that may be drawn, (N,) bool; all by default, and if no shard has any.
        """
        layers, palettes, pictures = [], [], []
        for number, row in self._places(count, rng, rows):
            shard = self.shards[number]
            subject = self._coloured(shard.kinds[row], shard.surfaces[row], rng)
            layers.append(shard.layers[row])
            palettes.append(world.palette(subject))
            azimuth, elevation = float(shard.azimuth[row]), float(shard.elevation[row])
            pictures.append(Picture(subject, azimuth, elevation, bool(shard.clay[row])))
        stacked = torch.from_numpy(np.stack(layers)).float() / 255
        coloured = colour_layers(stacked, torch.from_numpy(np.stack(palettes)))
        images = composite(coloured, (backgrounds or random_backgrounds)(count, self.size, rng))
        return images.permute(0, 3, 1, 2).contiguous(), pictures

    def batch(self, count: int, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        """`draw`, with random captions instead of descriptions."""
        images, pictures = self.draw(count, rng)
        texts = [captions.training_caption(p.subject, p.azimuth, p.elevation, p.clay, rng) for p in pictures]
        return images, texts

    def lesson(self, count: int, rng: np.random.Generator, only_sides: bool) -> tuple[Tensor, list[str]]:
        """A batch in which the view is what matters: plain single things of `SIDED`, on plain light grey.

        Apart from a few empty ones, all captions name the view. In the variety of `batch`, confusing left with right
        costs too little of the loss for the model to learn the difference (docs/evaluation/settings.md).

        Args:
            count: number of pictures.
            rng: makes the random choices.
            only_sides: whether to show the left and the right side only.
        """
        images, pictures = self.draw(count, rng, light_greys, sides_to_learn if only_sides else views_to_learn)
        texts = ["" if rng.random() < _LESSON_EMPTY_CAPTIONS else picture.caption() for picture in pictures]
        return images, texts

    def _places(
        self, count: int, rng: np.random.Generator, rows: Callable[[Shard], np.ndarray] | None
    ) -> list[tuple[int, int]]:
        """`count` random places, each a shard's number and a row in it."""
        numbers = sorted(self.shards)
        if rows is not None:
            allowed = [
                (number, row) for number in numbers for row in np.flatnonzero(rows(self.shards[number])).tolist()
            ]
            if allowed:
                return [allowed[index] for index in rng.integers(len(allowed), size=count)]
        return [(int(number), int(rng.integers(len(self.shards[number])))) for number in rng.choice(numbers, count)]

    def _coloured(self, kinds: np.ndarray, surfaces: np.ndarray, rng: np.random.Generator) -> Subject:
        items = []
        for kind_index, surface_index in zip(kinds, surfaces, strict=True):
            if kind_index == _NO_BASE:
                continue
            kind, surface = world.things()[kind_index], _SURFACES[surface_index]
            if surface == WOODEN:
                items.append(Item(kind, WOODEN))
                continue
            free = [name for name in COLOURS if name != WOODEN and (kind, name) not in self.excluded]
            items.append(Item(kind, str(rng.choice(free)), surface))
        return Subject(*items)

    def _load(self, number: int) -> Shard:
        file = self._file(number) if self.folder is not None else None
        if file is not None and file.exists():
            with np.load(file) as stored:
                return Shard(**stored)
        shard = render_shard(self.seed, number, self.size, self.instances, self.views, self.device, self.excluded)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Written whole or not at all: a truncated file would stop every resumed run.
            with file.with_suffix(".part").open("wb") as stream:
                np.savez(stream, **vars(shard))
            file.with_suffix(".part").replace(file)
        return shard

    def _file(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:06d}-{self.seed}-{self.size}.npz"


def views_to_learn(shard: Shard) -> np.ndarray:
    """The rows that show a plain single thing of `SIDED`, as (N,) bool."""
    sided = [world.things().index(kind) for kind in SIDED]
    alone = shard.kinds[:, 1] == _NO_BASE
    plain = shard.surfaces[:, 0] == _SURFACES.index(PATTERNS[0])
    return np.isin(shard.kinds[:, 0], sided) & alone & plain & ~shard.clay


def sides_to_learn(shard: Shard) -> np.ndarray:
    """The rows of `views_to_learn` that show the left or the right side, as (N,) bool."""
    from_a_side = [np.abs(shard.azimuth - azimuth) < _SIDE_WIDTH for azimuth in _SIDE_AZIMUTHS]
    return views_to_learn(shard) & np.logical_or(*from_a_side)


def light_greys(count: int, size: int, rng: np.random.Generator) -> Tensor:
    """(count, size, size, 3) plain backgrounds in 0.5...1."""
    greys = torch.from_numpy(rng.uniform(*_LESSON_GREYS, (count, 1, 1, 1))).float()
    return greys.expand(count, size, size, 3)


def random_backgrounds(count: int, size: int, rng: np.random.Generator) -> Tensor:
    """(count, size, size, 3) backgrounds in 0...1: grey or white, coloured, graded, and soft environments."""
    grey = np.repeat(rng.uniform(DARKEST_GREY, 1.0, (count, 1)), 3, axis=1)
    grey[rng.random(count) < WHITE_SHARE] = 1.0
    style = rng.random(count)
    first = np.where(style[:, None] < 0.35, grey, rng.uniform(0, 1, (count, 3)))
    second = np.where(style[:, None] < 0.62, first, 0.5 * first + 0.5 * rng.uniform(0, 1, (count, 3)))
    angle = rng.uniform(0, 2 * np.pi, count)
    line = np.linspace(-0.5, 0.5, size)
    slope = np.cos(angle)[:, None, None] * line[None, None, :] + np.sin(angle)[:, None, None] * line[None, :, None]
    mix = torch.from_numpy(np.clip(slope + 0.5, 0, 1)).float()[..., None]
    ends = (torch.from_numpy(colours).float()[:, None, None] for colours in (first, second))
    backgrounds = torch.lerp(*ends, mix)
    soft = torch.from_numpy(np.flatnonzero(style > 0.82))
    patches = torch.from_numpy(rng.uniform(0, 1, (len(soft), 3, 4, 4))).float()
    smooth = torch.nn.functional.interpolate(patches, (size, size), mode="bicubic", align_corners=True).clamp(0, 1)
    base = torch.from_numpy(first).float()[soft, None, None]
    backgrounds[soft] = 0.65 * base + 0.35 * smooth.permute(0, 2, 3, 1)
    return backgrounds


def _random_subject(rng: np.random.Generator, excluded: frozenset[tuple[str, str]]) -> tuple[Subject, tuple[int, int]]:
    """A subject and the surfaces of its items; "red" stands for the colours, which are chosen when it is drawn."""
    surfaces = rng.choice(len(_SURFACES), 2, p=_SURFACE_SHARES)
    if rng.random() < PAIR_SHARE:
        kinds = list(world.PAIRS)[rng.integers(len(world.PAIRS))]
    else:
        kinds = (world.things()[rng.integers(len(world.things()))],)
    items = []
    for position, kind in enumerate(kinds):
        surface = _SURFACES[surfaces[position]]
        if surface == WOODEN and (kind, WOODEN) in excluded:
            surfaces[position] = 0
            surface = PATTERNS[0]
        items.append(Item(kind, WOODEN) if surface == WOODEN else Item(kind, "red", surface))
    return Subject(*items), (int(surfaces[0]), int(surfaces[1]))
