import numpy as np
import pytest
import torch
from torch import nn

from sdi_engine.config.field import FieldConfig
from sdi_engine.errors import NoObjectError
from sdi_engine.radiance.isosurface import extract_surface, grid_cell
from sdi_engine.radiance.occupancy import OccupancyGrid

CONFIG = FieldConfig(bound=0.7, grid_resolutions=(4,), features=2, hidden=8, blob_density=4.0, blob_radius=0.6)


class Solid(nn.Module):
    """A density field given by a signed distance (negative inside), with walls 0.01 soft."""

    def __init__(self, distance, density=60.0):
        super().__init__()
        self.config = CONFIG
        self.grids = [torch.zeros(1)]
        self.distance, self.peak = distance, density

    def density(self, points):
        return self.peak * torch.sigmoid(-self.distance(points) / 0.004)


def extract(field, resolution=64, face_budget=100_000):
    occupancy = OccupancyGrid(CONFIG.bound, 32)
    random = torch.Generator().manual_seed(0)
    for _ in range(3):
        occupancy.update(field, random)
    return extract_surface(field, occupancy, resolution, face_budget)


def ball(radius, centre=(0.0, 0.0, 0.0)):
    return lambda points: (points - torch.tensor(centre)).norm(dim=-1) - radius


def test_a_balls_surface_is_a_ball_facing_outwards():
    mesh = extract(Solid(ball(0.4)))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4.0 / 3.0 * np.pi * 0.4**3, rel=0.1)
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert radii.min() > 0.37
    assert radii.max() < 0.44


def test_floaters_and_hidden_cavities_are_left_out():
    shell = ball(0.4)
    cavity = ball(0.25)
    crumb = ball(0.03, (0.6, 0.6, 0.6))
    field = Solid(lambda points: torch.minimum(torch.maximum(shell(points), -cavity(points)), crumb(points)))
    mesh = extract(field)
    assert mesh.body_count == 1
    assert np.linalg.norm(mesh.vertices, axis=1).min() > 0.37
    assert np.abs(mesh.vertices).max() < 0.45


def test_cells_are_as_small_as_the_object_allows():
    """A small object off the centre gets as many cells as a large one, and lies where it was."""
    occupancy = OccupancyGrid(CONFIG.bound, 32)
    small = Solid(ball(0.1, (0.4, -0.4, 0.3)))
    for _ in range(3):
        occupancy.update(small, torch.Generator().manual_seed(0))
    cell = grid_cell(occupancy, 64)
    assert 0.2 / 64 < cell < 0.5 / 64
    mesh = extract_surface(small, occupancy, 64, 100_000)
    assert mesh.bounds.mean(axis=0) == pytest.approx([0.4, -0.4, 0.3], abs=cell)
    assert mesh.extents == pytest.approx([0.2] * 3, abs=4 * cell)
    assert np.median(mesh.edges_unique_length) < 1.5 * cell


def test_nothing_occupied_is_no_object():
    occupancy = OccupancyGrid(CONFIG.bound, 32)
    occupancy.occupied.fill_(False)
    with pytest.raises(NoObjectError, match="No object emerged"):
        extract_surface(Solid(ball(0.1)), occupancy, 64, 100)


def test_a_thin_visible_part_is_kept():
    body = ball(0.3)

    def rod(points):
        radial = points[:, :2].norm(dim=-1) - 0.025
        return torch.maximum(radial, points[:, 2].abs() - 0.6)

    mesh = extract(Solid(lambda points: torch.minimum(body(points), rod(points))), resolution=96)
    assert mesh.bounds[1][2] == pytest.approx(0.6, abs=0.05)
    assert mesh.bounds[0][2] == pytest.approx(-0.6, abs=0.05)


def test_an_object_that_touches_the_cubes_face_is_closed():
    mesh = extract(Solid(lambda points: points[:, 2] + 0.3))
    assert mesh.is_watertight


@pytest.mark.parametrize("density", [0.0, 0.1])
def test_nothing_to_see_is_no_object(density):
    with pytest.raises(NoObjectError):
        extract(Solid(ball(0.4), density=density))


def test_fog_is_no_object():
    with pytest.raises(NoObjectError, match="fog"):
        extract(Solid(lambda points: -torch.ones(len(points)), density=3.0))


def test_nan_densities_are_no_object():
    with pytest.raises(NoObjectError):
        extract(Solid(lambda points: torch.full((len(points),), torch.nan)))
