"""The starter world's renderer: where points land, what hides what, and how much a ball covers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sdi_engine.starter import paint, render, solids, world


def instance_of(*parts: tuple[solids.Solid, paint.Colour]) -> world.Instance:
    """A thing made of parts that stay where they are."""
    offsets = np.cumsum([0] + [len(solid.vertices) for solid, _ in parts])
    counts = [len(solid.faces) for solid, _ in parts]
    return world.Instance(
        world.Subject(world.Item("mug", "red")),
        np.concatenate([solid.vertices for solid, _ in parts]).astype(np.float32),
        np.concatenate([solid.faces + offset for (solid, _), offset in zip(parts, offsets, strict=False)]),
        np.repeat([(*colour, 0.0, 0.0, 0.0) for _, colour in parts], counts, axis=0).astype(np.float32),
        np.zeros(sum(counts), dtype=np.int64),
        (world.Skin(paint.make_pattern("plain", np.zeros((0, 3)), np.random.default_rng(0)), None),),
    )


def surface_of(instance: world.Instance, density: float = render.POINTS_PER_AREA) -> render.Surface:
    """Its surface in the parts' own coordinates, not centred at the origin."""
    surface = render.sample_surface(instance, density)
    lift = torch.tensor([0.0, 0.0, float(instance.vertices[:, 2].max()) / 2])
    return replace(surface, positions=surface.positions + lift)


def draw(instance: world.Instance, azimuth: list[float], elevation: list[float], **options: float) -> torch.Tensor:
    cameras = render.orbit(torch.tensor(azimuth), torch.tensor(elevation), **options)
    return render.render(surface_of(instance), cameras, 64)


def centre_of(mask: torch.Tensor) -> tuple[float, float]:
    """Mean column and row in pixels of the pixels in a (H, W) mask; a pixel's centre is at +0.5."""
    rows, columns = torch.nonzero(mask, as_tuple=True)
    return columns.float().mean().item() + 0.5, rows.float().mean().item() + 0.5


@pytest.mark.parametrize(
    ("azimuth", "elevation", "column", "row"),
    [
        # A small ball at (0.3, 0.2, 0.25); the frame is 1.5 high at the origin, which is d away.
        (0.0, 0.0, lambda d: 32 + 0.3 * d / (d + 0.2), lambda d: 32 - 0.25 * d / (d + 0.2)),
        (90.0, 0.0, lambda d: 32 + 0.2 * d / (d - 0.3), lambda d: 32 - 0.25 * d / (d - 0.3)),
        (180.0, 0.0, lambda d: 32 - 0.3 * d / (d - 0.2), lambda d: 32 - 0.25 * d / (d - 0.2)),
        (270.0, 0.0, lambda d: 32 - 0.2 * d / (d + 0.3), lambda d: 32 - 0.25 * d / (d + 0.3)),
    ],
)
def test_points_land_where_the_pinhole_sends_them(azimuth: float, elevation: float, column, row) -> None:
    ball = instance_of((solids.ellipsoid(0.04).moved(0.3, 0.2, 0.25), (1.0, 0.0, 0.0)))
    picture = draw(ball, [azimuth], [elevation], fov=40.0, half_frame=0.75)[0]
    distance = 0.75 / math.tan(math.radians(20))
    per_unit = 64 / 1.5
    expected_column = 32 + (column(distance) - 32) * per_unit
    expected_row = 32 + (row(distance) - 32) * per_unit
    found_column, found_row = centre_of(picture[..., 3] > 0.5)
    assert found_column == pytest.approx(expected_column, abs=0.35)
    assert found_row == pytest.approx(expected_row, abs=0.35)


def test_camera_positions_follow_the_engines_convention() -> None:
    cameras = render.orbit(torch.tensor([0.0, 90.0, 0.0]), torch.tensor([0.0, 0.0, 90.0 - 1e-3]), half_frame=0.75)
    distance = 0.75 / math.tan(math.radians(20))
    expected = distance * torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(cameras.positions(), expected, atol=1e-3, rtol=0)


def test_front_left_back_and_right_show_their_own_colour() -> None:
    red, green, blue, yellow = (1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (1.0, 1.0, 0)
    plate, side = solids.box(0.6, 0.02, 0.6), solids.box(0.02, 0.6, 0.6)
    cube = instance_of(
        (plate.moved(0, -0.3, -0.3), red),
        (side.moved(0.3, 0, -0.3), green),
        (plate.moved(0, 0.3, -0.3), blue),
        (side.moved(-0.3, 0, -0.3), yellow),
    )
    pictures = draw(cube, [0.0, 90.0, 180.0, 270.0], [0.0] * 4)
    for picture, colour in zip(pictures, (red, green, blue, yellow), strict=True):
        torch.testing.assert_close(picture[32, 32], torch.tensor([*colour, 1.0]))


def test_a_balls_opacity_covers_the_analytic_disc() -> None:
    ball = instance_of((solids.ellipsoid(0.5), (1.0, 1.0, 1.0)))
    opacity = draw(ball, [0.0, 45.0], [0.0, 30.0], fov=40.0, half_frame=0.75)[..., 3]
    distance = 0.75 / math.tan(math.radians(20))
    # A ball's outline is a cone that touches it: a circle for a camera that looks at its centre.
    radius = 0.5 / math.sqrt(distance**2 - 0.25) * distance * 64 / 1.5
    area = math.pi * radius**2
    # Splats of 2 x 2 fine pixels widen an outline by a quarter to half a pixel.
    assert (opacity.sum(dim=(1, 2)) > area).all()
    assert (opacity.sum(dim=(1, 2)) < math.pi * (radius + 0.55) ** 2).all()
    y, x = torch.meshgrid(torch.arange(64) + 0.5 - 32, torch.arange(64) + 0.5 - 32, indexing="ij")
    inside = x**2 + y**2 < (radius - 1.5) ** 2
    assert (opacity[:, inside] == 1).all()
    assert (opacity[:, x**2 + y**2 > (radius + 1.5) ** 2] == 0).all()


def test_near_hides_far_and_colours_are_premultiplied() -> None:
    parts = ((solids.ellipsoid(0.3), (0.0, 0.0, 1.0)), (solids.ellipsoid(0.15).moved(y=-0.4), (1.0, 0.0, 0.0)))
    front, back = draw(instance_of(*parts), [0.0, 180.0], [0.0, 0.0])
    torch.testing.assert_close(front[32, 32], torch.tensor([1.0, 0.0, 0.0, 1.0]))
    torch.testing.assert_close(back[32, 32], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert (front[..., :3] <= front[..., 3:] + 1e-6).all()
    white = render.composite(front, torch.ones(3))
    torch.testing.assert_close(white[0, 0], torch.ones(3))


def test_light_darkens_what_faces_away() -> None:
    ball = surface_of(instance_of((solids.ellipsoid(0.4), (1.0, 1.0, 1.0))))
    cameras = render.orbit(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 0.0]))
    above = render.Light(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]), torch.tensor([0.6, 1.0]))
    lit, bare = render.render(ball, cameras, 64, above)
    assert lit[20, 32, 0] > lit[32, 32, 0] + 0.1
    assert lit[44, 32, 0] == pytest.approx(0.6)
    assert bare[44, 32, 0] == pytest.approx(1.0)


def test_surface_points_spread_by_area() -> None:
    parts = ((solids.box(1, 1, 1), (1.0, 0.0, 0.0)), (solids.box(0.5, 0.5, 0.5).moved(z=2), (0.0, 1.0, 0.0)))
    surface = render.sample_surface(instance_of(*parts), 1000)
    assert len(surface.positions) == 7500  # six square units, and one and a half
    assert surface.colors[:, 0].mean() == pytest.approx(0.8, abs=0.005)
    torch.testing.assert_close(surface.normals.norm(dim=1), torch.ones(7500))
    assert surface.positions[:, 2].min() == pytest.approx(-1.25, abs=1e-5)


def test_layers_take_any_colours() -> None:
    """One render, coloured anew, equals a render in those colours."""
    kind = ("mug", "table")
    subjects = [
        world.Subject(world.Item(kind[0], upper, "dotted"), world.Item(kind[1], lower))
        for upper, lower in (("red", "blue"), ("white", "green"))
    ]
    first, second = (
        render.sample_surface(world.make_instance(subject, np.random.default_rng(0))) for subject in subjects
    )
    cameras = render.orbit(torch.tensor([20.0]), torch.tensor([30.0]))
    layers = render.render_layers(first, cameras)
    recoloured = render.colour_layers(layers, torch.from_numpy(world.palette(subjects[1]))[None])
    torch.testing.assert_close(recoloured, render.render(second, cameras), atol=1e-5, rtol=0)


def test_training_cameras_stay_in_their_ranges() -> None:
    cameras = render.training_cameras(500, np.random.default_rng(0))
    half_frame = torch.tan(torch.deg2rad(cameras.fov) / 2) * cameras.distance
    assert (half_frame > 0.679).all()
    assert (half_frame < 0.861).all()
    assert (cameras.elevation >= -10).all()
    assert (cameras.elevation <= 50).all()
    assert cameras.azimuth.max() > 340
    assert cameras.azimuth.min() < 20


@pytest.mark.parametrize("kind", world.things())
def test_no_thing_shows_gaps(kind: str) -> None:
    """A pixel whose eight neighbours are filled is filled itself."""
    instance = world.make_instance(world.Subject(world.Item(kind, "green")), np.random.default_rng(0))
    opacity = draw(instance, [30.0, 200.0], [15.0, 40.0])[..., 3]
    neighbours = torch.nn.functional.avg_pool2d((opacity > 0.5).float(), 3, stride=1) * 9
    inner = opacity[:, 1:-1, 1:-1]
    assert (neighbours > 8.5).any()
    assert not ((neighbours > 7.5) & (inner < 0.25)).any()
