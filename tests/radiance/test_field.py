import dataclasses

import pytest
import torch
import torch.nn.functional as F

from sdi_engine.config.field import FieldConfig
from sdi_engine.radiance.field import RadianceField

CONFIG = FieldConfig(bound=0.7, grid_resolutions=(4, 8), features=2, hidden=8, blob_density=4.0, blob_radius=0.6)
HASHED = dataclasses.replace(
    CONFIG,
    bound=2.0,
    grid_resolutions=(4, 8, 16),
    log2_table_size=9,
    blob="magic3d",
    blob_density=10.0,
    blob_radius=0.25,
    density_scale=1.0,
)


def make(config=CONFIG):
    return RadianceField(config, torch.Generator().manual_seed(0))


def test_starts_as_a_ball_in_the_middle_and_is_nothing_outside_the_cube():
    points = torch.tensor([[0.0, 0.0, 0.0], [0.65, 0.65, 0.65], [0.8, 0.0, 0.0]])
    density, albedo = make()(points)
    assert density[0] > 10.0
    assert density[1] < 1.0
    assert density[2] == 0.0
    assert ((albedo > 0.0) & (albedo < 1.0)).all()


def test_normals_of_the_ball_point_outwards():
    points = F.normalize(torch.randn(64, 3, generator=torch.Generator().manual_seed(1)), dim=1) * 0.3
    normals = make().normal(points, 0.05)
    outwards = (normals * F.normalize(points, dim=1)).sum(1)
    assert outwards.min() > 0.9


@pytest.mark.parametrize("config", [CONFIG, HASHED])
def test_levels_are_switched_on_in_turn(config):
    field = make(config)
    points = torch.rand(50, 3) - 0.5
    field.activate_levels(0.0, (0.0, 0.5))
    before = field.density(points)
    with torch.no_grad():
        field.grids[1].add_(1.0)
    assert torch.equal(field.density(points), before)
    field.activate_levels(0.5, (0.0, 0.5))
    assert not torch.equal(field.density(points), before)


def test_several_levels_can_take_part_from_the_start():
    field = make(HASHED)
    active = []
    for progress in (0.0, 0.49, 0.5, 1.0):
        field.activate_levels(progress, (0.0, 0.0, 0.5))
        active.append((field.active_levels, field.cell))
    assert active == [(2, 0.5), (2, 0.5), (3, 0.25), (3, 0.25)]


def test_dense_fields_are_as_they_were_before_there_were_hashed_ones():
    """Checkpoints contain these names; the numbers come from the version before."""
    field = make()
    names = ["grids.0", "grids.1", "hidden.weight", "hidden.bias", "output.weight", "output.bias"]
    assert list(field.state_dict()) == names
    density, albedo = field(torch.linspace(-0.65, 0.65, 9).view(3, 3))
    torch.testing.assert_close(density, torch.tensor([0.0619563, 15.0587473, 0.0611202]))
    torch.testing.assert_close(albedo[2], torch.tensor([0.5001772, 0.5015499, 0.5080745]))


def test_magic3ds_ball_is_threestudios_formula_in_scene_units():
    """Scale 10, standard deviation 0.5, no more: the paper's start, before anything is learnt."""
    field = make(HASHED)
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(2)) * 3.8 - 1.9
    with torch.no_grad():
        field.output.weight.zero_()
        field.output.bias.fill_(0.7)
    expected = F.softplus(0.7 + 10.0 * (1.0 - points.norm(dim=1) / 0.5))
    torch.testing.assert_close(field.density(points), expected)


def test_a_hashed_field_keeps_its_state_and_learns():
    field, other = make(HASHED), RadianceField(HASHED, torch.Generator().manual_seed(1))
    points = torch.rand(50, 3) - 0.5
    field.density(points).sum().backward()
    for table in field.grids:
        assert table.grad.abs().max() > 0.0
    assert not torch.equal(field.density(points), other.density(points))
    other.load_state_dict(field.state_dict())
    assert torch.equal(field.density(points), other.density(points))
    assert field.smoothness() == 0.0


def test_the_same_generator_makes_the_same_field():
    points = torch.rand(50, 3) - 0.5
    assert torch.equal(make().density(points), make().density(points))


def test_smoothness_is_zero_for_constant_grids_only():
    field = make()
    assert field.smoothness() > 0.0
    with torch.no_grad():
        for grid in field.grids:
            grid.fill_(0.3)
    assert field.smoothness() == 0.0
