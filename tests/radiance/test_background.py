import math

import numpy as np
import pytest
import torch

from sdi_engine.radiance.background import EnvironmentMap, plain_backgrounds, spherical_harmonics
from sdi_engine.starter.dataset import random_backgrounds


def sphere(rings=1024, around=32):
    """Directions all over the sphere and the area of each; latitudes are uniform in z, as areas are."""
    z = (torch.arange(rings, dtype=torch.float64) + 0.5) / rings * 2.0 - 1.0
    angle = torch.arange(around, dtype=torch.float64) / around * 2.0 * math.pi
    z, angle = torch.meshgrid(z, angle, indexing="ij")
    radius = (1.0 - z.square()).sqrt()
    directions = torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1).view(-1, 3)
    return directions, 4.0 * math.pi / len(directions)


def test_spherical_harmonics_are_orthonormal():
    directions, area = sphere()
    values = spherical_harmonics(directions)
    torch.testing.assert_close(values.t() @ values * area, torch.eye(16, dtype=torch.float64), atol=1e-4, rtol=0.0)


def test_degrees_are_even_and_odd_in_turn():
    directions, _ = sphere()
    parity = torch.tensor([1.0] + [-1.0] * 3 + [1.0] * 5 + [-1.0] * 7, dtype=torch.float64)
    torch.testing.assert_close(spherical_harmonics(-directions), parity * spherical_harmonics(directions))


def test_starts_near_grey_and_can_learn_a_sky():
    background = EnvironmentMap(torch.Generator().manual_seed(0))
    directions = sphere(rings=16, around=16)[0].float().view(16, 16, 3)
    start = background(directions)
    assert start.shape == (16, 16, 3)
    assert ((start > 0.1) & (start < 0.9)).all()
    sky = torch.where(directions[..., 2:] > 0.0, torch.tensor([0.3, 0.5, 0.9]), torch.tensor([0.4, 0.3, 0.2]))
    optimizer = torch.optim.Adam(background.parameters(), lr=3e-2)
    for _ in range(80):
        optimizer.zero_grad()
        error = (background(directions) - sky).square().mean()
        error.backward()
        optimizer.step()
    assert error < 0.01


def test_the_same_generator_makes_the_same_background():
    directions = sphere()[0].float()
    one, other = (EnvironmentMap(torch.Generator().manual_seed(3))(directions) for _ in range(2))
    assert torch.equal(one, other)


def test_plain_backgrounds_are_those_of_the_starter_prior():
    """Before greys darker than it knows, it predicts objects darker than they are shown."""
    count = 4000
    drawn = plain_backgrounds(count, torch.Generator().manual_seed(0)).flatten(1).double()
    learnt = random_backgrounds(count, 1, np.random.default_rng(0)).flatten(1).double()
    greys, learnt_greys = (each[(each == each[:, :1]).all(dim=1), 0] for each in (drawn, learnt))
    assert float(greys.min()) == pytest.approx(float(learnt_greys.min()), abs=0.01)
    whites = [float((each == 1.0).double().mean()) for each in (greys, learnt_greys)]
    assert whites[0] == pytest.approx(whites[1], abs=0.05)
    assert len(greys) == pytest.approx(count / 2, rel=0.1)
    assert drawn.min() < 0.01
    assert drawn.max() <= 1.0
