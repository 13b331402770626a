import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sdi_engine.cameras import orbit
from sdi_engine.config.cameras import CameraRanges
from sdi_engine.config.field import FieldConfig
from sdi_engine.radiance.field import RadianceField
from sdi_engine.radiance.occupancy import OccupancyGrid
from sdi_engine.radiance.regularisers import convexity, view_space
from sdi_engine.radiance.renderer import NEGLIGIBLE_VISIBILITY, RayColours, render_at_surface, render_image, render_rays
from sdi_engine.radiance.shading import Shading

CONFIG = FieldConfig(bound=0.7, grid_resolutions=(4, 8), features=2, hidden=8, blob_density=4.0, blob_radius=0.6)
CAMERAS = CameraRanges(elevation=(0.0, 0.0), fov=(40.0, 40.0), half_frame=(0.8, 0.8), jitter=0.0)


class Ball(nn.Module):
    """A ball of constant density and albedo, with the interface of a field."""

    def __init__(self, radius, density, centre=(0.0, 0.0, 0.0)):
        super().__init__()
        self.config = CONFIG
        self.radius, self.constant, self.centre = radius, density, torch.tensor(centre)

    def forward(self, points):
        return self.density(points), torch.tensor([0.9, 0.5, 0.1]).expand(len(points), 3)

    def density(self, points):
        return self.constant * ((points - self.centre).norm(dim=-1) < self.radius)

    def normal(self, points, spacing):
        return F.normalize(points - self.centre, dim=-1)


class Hollow(Ball):
    """The same ball with its normals turned around."""

    def normal(self, points, spacing):
        return -super().normal(points, spacing)


def occupancy_of(field, resolution=16):
    occupancy = OccupancyGrid(CONFIG.bound, resolution)
    random = torch.Generator().manual_seed(0)
    for _ in range(24):
        occupancy.update(field, random)
    return occupancy


def test_opacity_and_depth_through_a_balls_centre_are_beer_lamberts():
    field = Ball(0.4, 3.0)
    origins, directions = torch.tensor([[0.0, -2.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    seen = render_rays(field, occupancy_of(field), origins, directions, 2000, None)
    opacity = 1.0 - math.exp(-3.0 * 0.8)
    assert seen.opacity.item() == pytest.approx(opacity, abs=2e-3)
    assert seen.rgb[0].tolist() == pytest.approx([0.9 * opacity, 0.5 * opacity, 0.1 * opacity], abs=2e-3)
    mean_depth = 1.6 + (1 / 3.0 - 0.8 * math.exp(-2.4) / opacity)
    assert seen.depth.item() == pytest.approx(mean_depth, abs=3e-3)


def test_silhouette_stands_where_the_ball_is():
    """A ball towards +X and up is seen from the front right of the centre and above it."""
    field = Ball(0.15, 1000.0, centre=(0.3, 0.0, 0.3))
    camera = orbit(CAMERAS, [0.0], 0.0, torch.device("cpu"))
    seen = render_image(field, occupancy_of(field), *camera.rays(64), 96, 1000)
    rows, columns = torch.nonzero(seen.opacity[0, ..., 0] > 0.5, as_tuple=True)
    expected = 32.0 + 32.0 * 0.3 / 0.8
    assert columns.float().mean().item() + 0.5 == pytest.approx(expected, abs=1.0)
    assert 64.0 - rows.float().mean().item() - 0.5 == pytest.approx(expected, abs=1.0)


def test_skipping_samples_changes_nothing_that_can_be_seen():
    """Neither those in empty cells nor those behind an opaque surface."""
    field = Ball(0.4, 60.0)
    full = OccupancyGrid(CONFIG.bound, 16)  # before its first update: everywhere is occupied
    rays = orbit(CAMERAS, [30.0], 20.0, torch.device("cpu")).rays(24)
    all_samples = render_image(field, full, *rays, 64, 10_000)
    some_samples = render_image(field, occupancy_of(field), *rays, 64, 10_000)
    difference = (all_samples.rgb - some_samples.rgb).abs()
    assert difference.max() < 0.05
    assert difference.mean() < 0.0005
    origins, directions = (tensor.reshape(-1, 3) for tensor in rays)
    points = origins[:, None] + torch.linspace(1.0, 3.0, 64)[:, None] * directions[:, None]
    wanted = occupancy_of(field).visible(points, torch.full((len(origins),), 2.0 / 64))
    assert wanted.float().mean() < 0.2


def test_patches_do_not_change_the_picture():
    field = RadianceField(CONFIG, torch.Generator().manual_seed(0))
    rays = orbit(CAMERAS, [30.0, 100.0], 20.0, torch.device("cpu")).rays(16)
    whole = render_image(field, occupancy_of(field), *rays, 32, 10_000)
    patched = render_image(field, occupancy_of(field), *rays, 32, 100)
    torch.testing.assert_close(whole.rgb, patched.rgb)


def test_rays_that_miss_and_empty_space_are_empty_and_finite():
    field = Ball(0.4, 0.0)
    origins = torch.tensor([[0.0, -2.0, 0.0], [5.0, -2.0, 5.0]])
    directions = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    seen = render_rays(field, occupancy_of(field), origins, directions, 32, None)
    for field_ in dataclasses.fields(seen):
        tensor = getattr(seen, field_.name)
        assert torch.equal(tensor, torch.zeros_like(tensor))


def normals_of(field, occupancy, camera, resolution=24, samples=96, **asked):
    """Normals in view space, and the rays' other values, as images."""
    rays = camera.rays(resolution)
    flat = (tensor.reshape(-1, 3) for tensor in rays)
    seen = render_rays(field, occupancy, *flat, samples, None, **asked)
    images = seen.map(lambda tensor: tensor.view(len(camera), resolution, resolution, -1))
    return view_space(images.normal, camera.axes()), images


@pytest.mark.parametrize("azimuth", [0.0, 130.0])
def test_normals_of_a_ball_are_those_of_a_hemisphere_from_every_side(azimuth):
    """To the right on its right, up on its top, towards the viewer in its middle; none faces away."""
    field = Ball(0.4, 300.0)
    camera = orbit(CAMERAS, [azimuth], 25.0, torch.device("cpu"))
    normal, seen = normals_of(field, occupancy_of(field), camera, normal_spacing=0.01)
    torch.testing.assert_close(normal[0, 11:13, 11:13].mean((0, 1)), torch.tensor([0.0, 0.0, 1.0]), atol=0.03, rtol=0.0)
    assert normal[0, 12, 16, 0] > 0.4
    assert normal[0, 12, 7, 0] < -0.4
    assert normal[0, 7, 12, 1] > 0.4
    assert normal[0, 16, 12, 1] < -0.4
    assert (normal.norm(dim=-1) <= seen.opacity[..., 0] + 1e-5).all()
    assert seen.facing_away.max() < 0.01


def test_a_ball_bulges_and_one_with_inverted_normals_is_a_hollow_that_faces_away():
    camera = orbit(CAMERAS, [0.0, 60.0, 200.0], 20.0, torch.device("cpu"))
    occupancy = occupancy_of(Ball(0.4, 300.0))
    bulge, _ = normals_of(Ball(0.4, 300.0), occupancy, camera, normal_spacing=0.01)
    inverted, seen = normals_of(Hollow(0.4, 300.0), occupancy, camera, normal_spacing=0.01)
    assert seen.facing_away[:, 12, 12].min() > 0.9
    assert convexity(bulge) < -0.05
    assert convexity(-bulge * torch.tensor([1.0, 1.0, -1.0])) > 0.05
    torch.testing.assert_close(inverted, -bulge)


def test_normals_cost_nothing_unless_asked_for_and_change_nothing_else():
    field = RadianceField(CONFIG, torch.Generator().manual_seed(0))
    camera, occupancy = orbit(CAMERAS, [30.0], 20.0, torch.device("cpu")), occupancy_of(field)
    _, without = normals_of(field, occupancy, camera)
    _, asked = normals_of(field, occupancy, camera, normal_spacing=0.05)
    assert torch.equal(without.rgb, asked.rgb)
    for tensor in (without.normal, without.facing_away):
        assert torch.equal(tensor, torch.zeros_like(tensor))
        assert not tensor.requires_grad
    lamp = Shading("lit", torch.zeros(3), 0.05)
    _, shaded = normals_of(field, occupancy, camera, shading=lamp, normal_spacing=0.05)
    torch.testing.assert_close(shaded.normal, asked.normal, atol=NEGLIGIBLE_VISIBILITY, rtol=0.0)


def test_gradients_flow_through_the_normals_but_facing_away_does_not_thin_matter():
    """The orientation loss turns surfaces; by fixed weights it cannot be lowered by making them transparent."""
    field = RadianceField(CONFIG, torch.Generator().manual_seed(0))
    camera, occupancy = orbit(CAMERAS, [30.0], 20.0, torch.device("cpu")), occupancy_of(field)
    for name in ("normal", "facing_away"):
        field.zero_grad()
        _, seen = normals_of(field, occupancy, camera, normal_spacing=0.05)
        getattr(seen, name).square().sum().backward()
        assert field.grids[1].grad.abs().max() > 0.0
        assert field.grids[1].grad.isfinite().all()
    ball = Hollow(0.4, 3.0)
    ball.constant = torch.tensor(3.0, requires_grad=True)
    _, seen = normals_of(ball, occupancy_of(Ball(0.4, 3.0)), camera, normal_spacing=0.05)
    assert not seen.facing_away.requires_grad
    assert seen.normal.requires_grad


def test_rays_with_and_without_matter_make_one_image():
    """Like the patches of an image, one of which may contain nothing at all."""
    field = RadianceField(CONFIG, torch.Generator().manual_seed(0))
    occupancy = occupancy_of(field)
    towards = torch.tensor([[0.0, 1.0, 0.0]])
    parts = [
        render_rays(field, occupancy, torch.tensor([origin]), towards, 32, None, normal_spacing=0.05)
        for origin in ([0.0, -2.0, 0.0], [5.0, -2.0, 0.0])
    ]
    whole = RayColours.cat(parts)
    assert whole.opacity[0] > 0.5
    assert whole.normal[0].norm() > 0.5
    assert torch.equal(whole.normal[1], torch.zeros(3))


def test_a_camera_inside_the_cube_sees_what_is_in_front_of_it():
    """At 0.6 from the centre of a cube of ±0.7: the ball in front of it, and nothing of the one behind it."""
    origins, directions = torch.tensor([[0.0, -0.6, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    field = Ball(0.2, 1000.0)
    seen = render_rays(field, occupancy_of(field), origins, directions, 400, None)
    assert seen.opacity.item() == pytest.approx(1.0, abs=1e-3)
    assert seen.depth.item() == pytest.approx(0.4, abs=0.01)
    behind = Ball(0.04, 1000.0, centre=(0.0, -0.65, 0.0))
    assert render_rays(behind, occupancy_of(behind, 32), origins, directions, 400, None).opacity.item() == 0.0


class _Painted(nn.Module):
    """A solid ball of radius 0.4, white where it is deeper than 0.05 and red above; its empty space is green."""

    config = CONFIG

    def forward(self, points):
        radius = points.norm(dim=-1)
        red, white, green = torch.tensor([1.0, 0.0, 0.0]), torch.ones(3), torch.tensor([0.0, 1.0, 0.0])
        albedo = torch.where((radius < 0.35)[:, None], white, red)
        return 500.0 * (radius < 0.4), torch.where((radius > 0.4)[:, None], green, albedo)


@pytest.mark.parametrize("beside", [-0.02, 0.0, 0.02])
def test_a_surfaces_colour_is_what_is_seen_from_outside_though_its_point_lies_beside(beside):
    normals = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    seen = render_at_surface(_Painted(), (0.4 + beside) * normals, normals, depth=0.06)
    torch.testing.assert_close(seen, torch.tensor([1.0, 0.0, 0.0]).expand(20, 3), atol=0.02, rtol=0.0)
