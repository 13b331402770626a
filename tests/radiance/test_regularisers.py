import math

import pytest
import torch

from sdi_engine.cameras import orbit
from sdi_engine.config.cameras import CameraRanges
from sdi_engine.radiance.regularisers import (
    convexity,
    convexity_of_colours,
    opaqueness,
    orientation,
    sparsity,
    view_space,
    z_variance,
)


def test_values_at_the_extremes():
    nothing, solid, half = torch.zeros(4, 4), torch.ones(4, 4), torch.full((4, 4), 0.5)
    assert sparsity(nothing).item() == pytest.approx(0.1)
    assert sparsity(solid).item() == pytest.approx(math.sqrt(1.01))
    assert opaqueness(half).item() == pytest.approx(math.log(2.0))
    assert opaqueness(nothing).item() < 0.01
    assert opaqueness(solid).item() < 0.01
    assert z_variance(half, solid).item() == pytest.approx(0.5)


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_gradients_are_finite_for_empty_and_solid_renders(opacity):
    rendered = torch.full((2, 16, 16, 1), opacity, requires_grad=True)
    variance, away = (torch.zeros(2, 16, 16, 1, requires_grad=True) for _ in range(2))
    normal = torch.zeros(2, 16, 16, 3, requires_grad=True)
    about_normals = orientation(away, rendered) + convexity(normal) + convexity_of_colours(normal, rendered)
    about_depth = z_variance(variance, rendered)
    assert about_normals.item() == pytest.approx(0.0, abs=1e-6)
    assert about_depth.item() == 0.0
    (sparsity(rendered) + opaqueness(rendered) + about_normals + about_depth).backward()
    for tensor in (rendered, variance, away, normal):
        assert tensor.grad.isfinite().all()


def test_means_are_over_the_rays_that_hit():
    opacity = torch.tensor([0.0, 0.2, 0.6, 1.0])[:, None]
    values = torch.tensor([0.0, 9.0, 1.0, 3.0])[:, None]
    assert z_variance(values, opacity).item() == pytest.approx(2.0)
    assert orientation(values, opacity).item() == pytest.approx(13.0 / 3.0)


def quadric(x_sign, y_sign, resolution=64):
    """Normals in view space of a round surface in front of the viewer, (1, H, W, 3).

    Signs +, + bulge like a ball, −, − hollow like a bowl, +, − make a saddle.
    """
    along = (torch.arange(resolution) + 0.5) / resolution * 1.6 - 0.8
    y, x = torch.meshgrid(-along, along, indexing="ij")
    inside = x.square() + y.square() < 0.6
    normal = torch.stack([x_sign * x, y_sign * y, (1.0 - x.square() - y.square()).clamp(min=0.0).sqrt()], dim=-1)
    return (normal * inside[..., None])[None]


def test_convexity_prefers_a_ball_to_a_saddle_to_a_bowl():
    ball, saddle, bowl = (convexity(quadric(*signs)).item() for signs in [(1, 1), (1, -1), (-1, -1)])
    assert ball < -0.1
    assert saddle == pytest.approx(0.0, abs=1e-5)
    assert bowl > 0.1
    assert convexity(quadric(-1, 1)).item() == pytest.approx(0.0, abs=1e-5)


def test_convexity_makes_a_hollow_less_hollow():
    """A step against its gradient turns the normals of a bowl outwards, on each side."""
    bowl = quadric(-1, -1).requires_grad_()
    convexity(bowl).backward()
    turn = -bowl.grad[0]
    assert turn[:, 48:].mean((0, 1))[0] > 0.0
    assert turn[:, :16].mean((0, 1))[0] < 0.0
    assert turn[:16].mean((0, 1))[1] > 0.0
    assert turn[48:].mean((0, 1))[1] < 0.0


def test_view_space_is_right_up_and_towards_the_viewer():
    ranges = CameraRanges(elevation=(0.0, 0.0), fov=(40.0, 40.0), half_frame=(0.8, 0.8), jitter=0.0)
    camera = orbit(ranges, [0.0, 90.0], 0.0, torch.device("cpu"))
    world = torch.tensor([1.0, 2.0, 3.0]).expand(2, 1, 1, 3)
    in_view = view_space(world, camera.axes())[:, 0, 0]
    torch.testing.assert_close(in_view, torch.tensor([[1.0, 3.0, -2.0], [2.0, 3.0, 1.0]]))


def test_the_released_convexity_prefers_a_ball_too_over_all_sides():
    """Though not from each side: its remapping adds a term that only cancels in the mean over azimuths."""
    ranges = CameraRanges(elevation=(0.0, 0.0), fov=(40.0, 40.0), half_frame=(0.8, 0.8), jitter=0.0)
    camera = orbit(ranges, [0.0, 90.0, 180.0, 270.0], 0.0, torch.device("cpu"))
    right, up, forward = camera.axes()
    losses = []
    for signs in [(1, 1), (-1, -1)]:
        in_view = quadric(*signs).expand(4, -1, -1, -1)
        world = torch.einsum("bhwj,bji->bhwi", in_view, torch.stack([right, up, -forward], dim=1))
        losses.append(convexity_of_colours(world, world.norm(dim=-1, keepdim=True)).item())
    ball, bowl = losses
    assert ball < bowl - 0.01
