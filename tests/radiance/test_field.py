import torch

from sdi_engine.radiance.field import FieldConfig, RadianceField

CONFIG = FieldConfig(bound=0.7, grid_resolutions=(4, 8), features=2, hidden=8, blob_density=4.0, blob_radius=0.6)


def make():
    return RadianceField(CONFIG, torch.Generator().manual_seed(0))


def test_starts_as_a_ball_in_the_middle_and_is_nothing_outside_the_cube():
    points = torch.tensor([[0.0, 0.0, 0.0], [0.65, 0.65, 0.65], [0.8, 0.0, 0.0]])
    density, albedo = make()(points)
    assert density[0] > 10.0
    assert density[1] < 1.0
    assert density[2] == 0.0
    assert ((albedo > 0.0) & (albedo < 1.0)).all()


def test_normals_of_the_ball_point_outwards():
    points = torch.nn.functional.normalize(torch.randn(64, 3, generator=torch.Generator().manual_seed(1)), dim=1) * 0.3
    normals = make().normal(points, 0.05)
    outwards = (normals * torch.nn.functional.normalize(points, dim=1)).sum(1)
    assert outwards.min() > 0.9


def test_levels_are_switched_on_in_turn():
    field = make()
    points = torch.rand(50, 3) - 0.5
    field.activate_levels(0.0, (0.0, 0.5))
    before = field.density(points)
    with torch.no_grad():
        field.grids[1].add_(1.0)
    assert torch.equal(field.density(points), before)
    field.activate_levels(0.5, (0.0, 0.5))
    assert not torch.equal(field.density(points), before)


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
