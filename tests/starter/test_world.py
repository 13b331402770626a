"""The starter world's things: pose, size, colours, closed surfaces."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from sdi_engine.starter import solids, world

ALL = [(kind, colour) for kind in world.things() for colour in world.COLOURS]


def make(kind: str, colour: str = "red", seed: int = 0) -> world.Instance:
    return world.make_thing(kind, colour, np.random.default_rng(seed))


def areas(instance: world.Instance) -> np.ndarray:
    corners = instance.vertices[instance.faces]
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


def test_the_world_has_twelve_things_and_eight_colours() -> None:
    assert len(world.things()) == 12
    assert len(world.COLOURS) == 8


@pytest.mark.parametrize(("kind", "colour"), ALL)
def test_every_thing_touches_its_cylinder_and_is_centred(kind: str, colour: str) -> None:
    for seed in range(3):
        instance = make(kind, colour, seed)
        low, high = instance.vertices.min(axis=0), instance.vertices.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-5)
        radius = np.linalg.norm(instance.vertices[:, :2], axis=1).max() / world.CYLINDER_RADIUS
        height = (high[2] - low[2]) / world.CYLINDER_HEIGHT
        assert max(radius, height) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("kind", world.things())
def test_parts_are_closed_and_wind_outwards(kind: str) -> None:
    instance = make(kind)
    mesh = trimesh.Trimesh(instance.vertices, instance.faces, process=False)
    parts = mesh.split(only_watertight=False)
    assert len(parts) >= 3
    for part in parts:
        part.merge_vertices()
        assert part.is_winding_consistent
        assert part.is_watertight
        assert part.volume > 0


@pytest.mark.parametrize(("kind", "colour"), ALL)
def test_the_named_colour_or_its_shades_dominate(kind: str, colour: str) -> None:
    """Among all face colours, those nearest to the named one in hue cover the most area."""
    instance = make(kind, colour)
    assert instance.face_colors.shape == instance.faces.shape
    assert instance.face_colors.min() >= 0
    assert instance.face_colors.max() <= 1
    named = np.array(world.COLOURS[colour])
    brightness = np.linalg.norm(instance.face_colors, axis=1)
    cosine = instance.face_colors @ named / (brightness * np.linalg.norm(named))
    of_colour = (cosine > 0.985) & (brightness > 0.5 * np.linalg.norm(named))
    shares = areas(instance) / areas(instance).sum()
    others = {
        tuple(c): shares[(instance.face_colors == c).all(axis=1)].sum()
        for c in np.unique(instance.face_colors[~of_colour], axis=0)
    }
    assert shares[of_colour].sum() > 0.3
    assert shares[of_colour].sum() > max(others.values())


def test_seeds_change_proportions_and_repeat() -> None:
    first, again, other = make("house", seed=1), make("house", seed=1), make("house", seed=2)
    np.testing.assert_array_equal(first.vertices, again.vertices)
    assert np.abs(first.vertices - other.vertices).max() > 0.01


@pytest.mark.parametrize(
    ("kind", "part_colour", "axis", "sign"),
    [
        ("snowman", world.CARROT, 1, -1),  # the nose points to the front
        ("car", world.LIGHT, 1, -1),  # headlights in front
        ("car", world.TAIL_LIGHT, 1, 1),
        ("house", world.TERRACOTTA, 0, 1),  # the chimney is on the house's left
        ("house", world.WOOD, 1, -1),  # the door is in front
        ("rocket", world.GLASS, 1, -1),
        ("table", world.BLACK, 1, -1),  # the drawer's knob
        ("table", world.WOOD, 2, -1),  # the legs are below
    ],
)
def test_fronts_face_minus_y(kind: str, part_colour: world.Colour, axis: int, sign: int) -> None:
    instance = make(kind, "purple")
    part = np.isclose(instance.face_colors, np.float32(part_colour)).all(axis=1)
    assert part.any()
    centres = instance.vertices[instance.faces[part]].mean(axis=1)
    assert sign * centres[:, axis].mean() > 0.03


def test_mug_handle_and_teapot_spout_are_on_plus_x() -> None:
    mug = make("mug")
    # The body is round, so only the handle can reach further along +X than along Y.
    assert mug.vertices[:, 0].max() > 1.2 * mug.vertices[:, 1].max()
    teapot = make("teapot")
    tips = teapot.vertices[np.argmax(teapot.vertices[:, 0])], teapot.vertices[np.argmin(teapot.vertices[:, 0])]
    assert tips[0][2] > tips[1][2] + 0.1  # the spout's tip sits higher than the handle's middle


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="mug"):
        make("spaceship")
    with pytest.raises(ValueError, match="orange"):
        make("mug", "teal")


def test_solids_have_the_volumes_of_geometry() -> None:
    expected = [
        (solids.box(1, 2, 3), 6.0),
        (solids.prism([(0, 0), (2, 0), (0, 2)], 0.5), 1.0),
        (solids.cylinder(0.5, 2), np.pi / 2),
        (solids.cone(1, 3), np.pi),
        (solids.ellipsoid(1, 2, 3), 8 * np.pi),
        (solids.tube([(0, 0, 0), (1, 0, 0), (3, 0, 0)], 0.2), 0.12 * np.pi),
    ]
    for solid, volume in expected:
        mesh = trimesh.Trimesh(solid.vertices, solid.faces)
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(volume, rel=0.02)
