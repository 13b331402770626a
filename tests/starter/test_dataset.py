"""The training pictures: what shards hold, what is held out, and that they repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdi_engine.diffusion.views import view_words
from sdi_engine.starter import captions, dataset, world
from sdi_engine.starter.paint import PATTERNS, WOODEN


@pytest.fixture(scope="module")
def shard() -> dataset.Shard:
    return dataset.render_shard(seed=0, index=3, size=16, instances=40, views=2)


def window(folder: Path | None = None, **options: object) -> dataset.Window:
    return dataset.Window(0, folder, size=16, instances=4, views=2, **options)


def test_a_shard_shows_random_subjects(shard: dataset.Shard) -> None:
    assert shard.layers.shape == (80, 16, 16, 8)
    assert len(np.unique(shard.kinds[:, 0])) > 10
    pairs = shard.kinds[:, 1] >= 0
    assert 0.05 < pairs.mean() < 0.45
    names = world.things()
    assert {(names[a], names[b]) for a, b in shard.kinds[pairs]} <= set(world.PAIRS)
    covered = (shard.layers[..., 7] > 127).mean(axis=(1, 2))
    assert covered.min() > 0.02
    assert covered.max() < 0.95
    assert (shard.layers[..., :3] <= shard.layers[..., 7:].astype(int) + 1).all()  # premultiplied


def test_shards_repeat_from_their_number() -> None:
    first, again, other = (dataset.render_shard(0, index, 16, instances=2, views=2) for index in (1, 1, 2))
    np.testing.assert_array_equal(first.layers, again.layers)
    assert first.layers.shape == other.layers.shape
    assert (first.layers != other.layers).any()


def test_batches_repeat_and_are_images() -> None:
    drawn = window()
    drawn.advance(2)
    images, texts = drawn.batch(8, np.random.default_rng(3))
    same_images, same_texts = drawn.batch(8, np.random.default_rng(3))
    assert images.shape == (8, 3, 16, 16)
    assert images.min() >= 0
    assert images.max() <= 1
    assert texts == same_texts
    torch.testing.assert_close(images, same_images)


def test_the_same_picture_takes_other_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "CLAY_SHARE", 0.0)
    drawn = window()
    drawn.advance(1)
    _, pictures = drawn.draw(200, np.random.default_rng(0))
    by_place: dict[float, set[str]] = {}
    for picture in pictures:
        by_place.setdefault(picture.azimuth, set()).add(picture.subject.thing.colour)
    assert max(len(colours) for colours in by_place.values()) > 4


def test_clay_pictures_have_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "CLAY_SHARE", 1.0)
    layers = dataset.render_shard(0, 0, 16, instances=6, views=2).layers
    assert (layers[..., 3:7] == 0).all()
    np.testing.assert_array_equal(layers[..., 0], layers[..., 1])
    inside = layers[..., 7] == 255
    assert np.unique(layers[..., 0][inside]).size > 5  # shaded


@pytest.fixture(scope="module")
def many() -> dataset.Window:
    drawn = dataset.Window(0, None, size=16, instances=40, views=4)
    drawn.advance(2)
    return drawn


@pytest.mark.parametrize("only_sides", [True, False])
def test_a_lesson_is_of_views_alone(many: dataset.Window, only_sides: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dataset.Picture] = []
    draw = many.draw

    def watched(*arguments: Any) -> tuple[torch.Tensor, list[dataset.Picture]]:
        images, pictures = draw(*arguments)
        shown.extend(pictures)
        return images, pictures

    monkeypatch.setattr(many, "draw", watched)
    images, texts = many.lesson(100, np.random.default_rng(0), only_sides)
    told = [(picture, text) for picture, text in zip(shown, texts, strict=True) if text]
    assert 85 <= len(told) < 100
    sides = {"left side view", "right side view"}
    views = set()
    for picture, text in told:
        name, _, view = text.partition(", ")
        assert captions.describe(picture.subject) == name
        assert view_words(picture.azimuth, picture.elevation, "eight") == view
        views.add(view.removesuffix(" from above"))
    assert views == sides if only_sides else len(views) == 8
    assert all(picture.subject.base is None and not picture.clay for picture in shown)
    assert {picture.subject.thing.kind for picture in shown} <= set(dataset.SIDED)
    assert {picture.subject.thing.pattern for picture in shown} == {"plain"}
    corners = images[:, :, 0, 0]
    torch.testing.assert_close(corners, corners[:, :1].expand(-1, 3))
    assert corners.min() >= 0.5


def test_a_lesson_without_suitable_pictures_shows_any() -> None:
    drawn = window()
    drawn.advance(1)
    _, pictures = drawn.draw(5, np.random.default_rng(0), rows=lambda shard: np.zeros(len(shard), dtype=bool))
    assert len(pictures) == 5


def test_held_out_pairs_are_never_drawn() -> None:
    held = dataset.held_out()
    assert len(held) == len(world.things()) // 2
    assert len({colour for _, colour in held}) >= 10
    drawn = window()
    # Every surface of every kind of which a colour is held out.
    for kind, _ in sorted(held):
        for index, name in enumerate((*PATTERNS, WOODEN)):
            if name == WOODEN and (kind, WOODEN) in held:
                continue
            for seed in range(30):
                subject = drawn._coloured(
                    np.array([world.things().index(kind), -1]), np.array([index, 0]), np.random.default_rng(seed)
                )
                assert (subject.thing.kind, subject.thing.colour) not in held
    rng = np.random.default_rng(0)
    for _ in range(1500):
        subject, _ = dataset._random_subject(rng, held)
        assert not any((item.kind, WOODEN) in held for item in subject.items if item.colour == WOODEN)


def test_a_window_keeps_its_shards_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = window(tmp_path, capacity=2)
    first.advance(2)
    second = window(tmp_path, capacity=2)
    monkeypatch.setattr(dataset, "render_shard", lambda *_: pytest.fail("it is on the disk"))
    second.advance(2)
    np.testing.assert_array_equal(second.shards[1].layers, first.shards[1].layers)


def test_processes_share_the_list_of_shards() -> None:
    both = [window(first=rank, every=2) for rank in (0, 1)]
    for mine in both:
        mine.advance(2)
    assert [sorted(mine.shards) for mine in both] == [[0, 2], [1, 3]]


def test_backgrounds_are_of_several_sorts() -> None:
    backgrounds = dataset.random_backgrounds(200, 16, np.random.default_rng(0))
    assert backgrounds.shape == (200, 16, 16, 3)
    assert backgrounds.min() >= 0
    assert backgrounds.max() <= 1
    flat = backgrounds.amax(dim=(1, 2)) - backgrounds.amin(dim=(1, 2))
    plain = (flat.amax(dim=1) < 1e-6).float().mean()
    assert 0.4 < plain < 0.8
    colourless = (backgrounds.amax(dim=3) - backgrounds.amin(dim=3)).amax(dim=(1, 2)) < 1e-6
    assert 0.2 < colourless.float().mean() < 0.5
