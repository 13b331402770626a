"""The starter world: pose, size, closed surfaces, modes, patterns, and what stands on what."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
import trimesh

from sdi_engine.starter import paint, render, world
from sdi_engine.starter.world import Item, Subject

SEEDS = range(4)


def make(kind: str, colour: str = "red", pattern: str = "plain", seed: int = 0) -> world.Instance:
    return world.make_instance(Subject(Item(kind, colour, pattern)), np.random.default_rng(seed))


def spread(instance: world.Instance, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Random points on an instance and their faces."""
    mesh = trimesh.Trimesh(instance.vertices, instance.faces, process=False)
    return trimesh.sample.sample_surface(mesh, count, seed=0)


def test_the_world_is_as_large_as_promised() -> None:
    assert len(world.things()) >= 24
    assert len(paint.COLOURS) == 12
    assert len(world.PAIRS) >= 10
    assert {kind for pair in world.PAIRS for kind in pair} <= set(world.things())


@pytest.mark.parametrize("kind", world.things())
def test_a_thing_stands_on_the_ground_and_touches_its_cylinder(kind: str) -> None:
    for seed in SEEDS:
        vertices = make(kind, seed=seed).vertices
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        np.testing.assert_allclose((low + high)[:2], 0, atol=1e-5)
        assert low[2] == pytest.approx(0, abs=1e-6)
        radius = np.linalg.norm(vertices[:, :2], axis=1).max() / world.CYLINDER_RADIUS
        assert max(radius, high[2] / world.CYLINDER_HEIGHT) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("kind", world.things())
def test_parts_are_closed_and_wind_outwards(kind: str) -> None:
    for seed in SEEDS:
        instance = make(kind, seed=seed)
        mesh = trimesh.Trimesh(instance.vertices, instance.faces, process=False)
        parts = mesh.split(only_watertight=False)
        assert len(parts) >= 2
        for part in parts:
            part.merge_vertices()
            assert part.is_winding_consistent
            assert part.is_watertight
            assert part.volume > 0


@pytest.mark.parametrize("kind", world.things())
def test_the_named_colour_covers_most(kind: str) -> None:
    """Of the whole surface; hidden parts inside count too, so the visible share is higher."""
    shares = []
    for seed in SEEDS:
        instance = make(kind, seed=seed)
        shares.append(instance.coefficients(*spread(instance))[:, 3].mean())
    assert np.mean(shares) > 0.35


@pytest.mark.parametrize("kind", world.things())
def test_a_kind_has_clearly_different_modes(kind: str) -> None:
    """Outlines from the front and from a side, of the two instances that are least alike."""
    cameras = render.orbit(torch.tensor([0.0, 90.0]), torch.tensor([10.0, 10.0]))
    outlines = []
    for seed in range(12):
        layers = render.render_layers(render.sample_surface(make(kind, seed=seed), density=4000), cameras, size=32)
        outlines.append(layers[..., -1].flatten() > 0.5)
    shared = [(one & other).sum() / (one | other).sum() for one, other in combinations(outlines, 2)]
    assert min(shared) < 0.7


@pytest.mark.parametrize("kind", world.things())
def test_a_seed_gives_the_same_instance(kind: str) -> None:
    np.testing.assert_array_equal(make(kind, seed=3).vertices, make(kind, seed=3).vertices)


@pytest.mark.parametrize(
    ("kind", "own", "axis", "sign"),
    [
        ("snowman", paint.CARROT, 1, -1),  # the nose points to the front
        ("car", paint.LIGHT, 1, -1),  # headlights in front
        ("car", paint.TAIL_LIGHT, 1, 1),
        ("house", paint.BARK, 1, -1),  # the door is in front
        ("rabbit", paint.BLACK, 1, -1),  # its eyes
    ],
)
def test_fronts_face_minus_y(kind: str, own: paint.Colour, axis: int, sign: int) -> None:
    for seed in SEEDS:
        instance = make(kind, "purple", seed=seed)
        part = np.isclose(instance.face_paint[:, :3], np.float32(own)).all(axis=1)
        assert part.any()
        assert sign * instance.vertices[instance.faces[part]].mean(axis=(0, 1))[axis] > 0.02


@pytest.mark.parametrize("pattern", paint.PATTERNS[1:])
def test_patterns_show_both_colours_and_move(pattern: str) -> None:
    covers = []
    for seed in SEEDS:
        instance = make("tree", "green", pattern, seed)
        points, faces = spread(instance)
        patterned = instance.face_paint[faces, 5] > 0
        covers.append(instance.coefficients(points, faces)[patterned, 4])
        assert 0.05 < covers[-1].mean() < 0.7
        albedo = instance.albedo(points, faces)[patterned]
        known = np.array([paint.COLOURS["green"], paint.detail_colour("green")])
        assert np.abs(albedo[:, None] - known).max(axis=2).min(axis=1).max() < 1e-5
    skins = [make("tree", "green", pattern, seed).skins[0] for seed in (0, 1)]
    points, _ = spread(make("tree", "green"))
    assert (skins[0].pattern(points) != skins[1].pattern(points)).mean() > 0.1


def test_wood_has_a_grain() -> None:
    instance = make("chair", paint.WOODEN)
    points, faces = spread(instance)
    main = instance.coefficients(points, faces)[instance.face_paint[faces, 5] > 0][:, 3]
    assert 0.1 < (main < 0.9).mean() < 0.6


def test_details_stand_out_from_every_colour() -> None:
    for name, colour in paint.COLOURS.items():
        assert np.abs(np.subtract(colour, paint.detail_colour(name))).max() > 0.3


@pytest.mark.parametrize("pair", world.PAIRS)
def test_one_stands_on_the_other(pair: tuple[str, str]) -> None:
    subject = Subject(Item(pair[0], "red"), Item(pair[1], "blue"))
    for seed in SEEDS:
        instance = world.make_instance(subject, np.random.default_rng(seed))
        upper, lower = (instance.vertices[np.unique(instance.faces[instance.face_item == item])] for item in (0, 1))
        assert lower[:, 2].min() == pytest.approx(0, abs=1e-6)
        assert upper[:, 2].max() > lower[:, 2].mean()
        # It rests on the other's surface: neither far above it nor sunk in.
        assert upper[:, 2].min() < lower[:, 2].max()
        albedo = instance.albedo(*spread(instance))
        for colour in ("red", "blue"):
            assert (np.abs(albedo - paint.COLOURS[colour]).max(axis=1) < 1e-5).mean() > 0.05


@pytest.mark.parametrize(
    ("words", "named"),
    [(("zebra", "red"), "zebra"), (("mug", "beige"), "beige"), (("mug", "red", "tartan"), "tartan")],
)
def test_unknown_words_are_refused_by_name(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Item(*words)


def test_impossible_subjects_are_refused() -> None:
    with pytest.raises(ValueError, match="wooden"):
        Item("mug", paint.WOODEN, "dotted")
    with pytest.raises(ValueError, match="mug on table"):
        Subject(Item("table", "red"), Item("mug", "red"))
