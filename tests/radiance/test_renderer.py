import math

import pytest
import torch
from torch import nn

from sdi_engine.radiance.cameras import CameraRanges
from sdi_engine.radiance.field import FieldConfig, RadianceField
from sdi_engine.radiance.occupancy import OccupancyGrid
from sdi_engine.radiance.renderer import render_image, render_rays

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
    camera = CAMERAS.orbit([0.0], 0.0, torch.device("cpu"))
    seen = render_image(field, occupancy_of(field), *camera.rays(64), 96, 1000)
    rows, columns = torch.nonzero(seen.opacity[0, ..., 0] > 0.5, as_tuple=True)
    expected = 32.0 + 32.0 * 0.3 / 0.8
    assert columns.float().mean().item() + 0.5 == pytest.approx(expected, abs=1.0)
    assert 64.0 - rows.float().mean().item() - 0.5 == pytest.approx(expected, abs=1.0)


def test_skipping_samples_changes_nothing_that_can_be_seen():
    """Neither those in empty cells nor those behind an opaque surface."""
    field = Ball(0.4, 60.0)
    full = OccupancyGrid(CONFIG.bound, 16)  # before its first update: everywhere is occupied
    rays = CAMERAS.orbit([30.0], 20.0, torch.device("cpu")).rays(24)
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
    rays = CAMERAS.orbit([30.0, 100.0], 20.0, torch.device("cpu")).rays(16)
    whole = render_image(field, occupancy_of(field), *rays, 32, 10_000)
    patched = render_image(field, occupancy_of(field), *rays, 32, 100)
    torch.testing.assert_close(whole.rgb, patched.rgb)


def test_rays_that_miss_and_empty_space_are_empty_and_finite():
    field = Ball(0.4, 0.0)
    origins = torch.tensor([[0.0, -2.0, 0.0], [5.0, -2.0, 5.0]])
    directions = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    seen = render_rays(field, occupancy_of(field), origins, directions, 32, None)
    for tensor in (seen.rgb, seen.opacity, seen.depth, seen.depth_variance):
        assert torch.equal(tensor, torch.zeros_like(tensor))
