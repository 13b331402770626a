"""The kernels that compose what rays see, against their twin in plain torch."""

import dataclasses

import pytest
import torch

from sdi_engine.config.field import FieldConfig
from sdi_engine.radiance import encoding
from sdi_engine.radiance.compositing import LEAST_OPACITY, can_be_fused, composed, fused_composed
from sdi_engine.radiance.field import RadianceField
from sdi_engine.radiance.renderer import render_samples
from sdi_engine.radiance.samples import Samples
from sdi_engine.radiance.shading import Shading

COUNTS = (0, 1, 20, 0, 8, 30, 5, 0)
"""Samples of each ray."""

THIN = 5
"""This ray and those after it see hardly anything."""


@pytest.fixture
def samples():
    random = torch.Generator().manual_seed(0)
    ray = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    distance = torch.cat([torch.rand(count, generator=random).sort().values for count in COUNTS]) + 1.0
    directions = torch.nn.functional.normalize(torch.randn(len(COUNTS), 3, generator=random), dim=-1)
    return Samples(-1.5 * directions, directions, torch.full((len(COUNTS),), 0.05), 40, ray, distance)


def matter(samples):
    """Thin and thick, a transparent ray, an opaque one, one with less than `LEAST_OPACITY`, and one with nothing."""
    random = torch.Generator().manual_seed(1)
    density = torch.rand(len(samples), generator=random) * 10.0
    density[samples.ray == 2] *= 0.05
    density[samples.ray == 4] = 300.0
    density[samples.ray == THIN] *= 1e-5
    density[samples.ray == 6] = 0.0
    return density.requires_grad_(), torch.rand(len(samples), 3, generator=random).requires_grad_()


def assert_close(one, other, share=1e-4):
    torch.testing.assert_close(one, other, atol=share * other.abs().max().item(), rtol=0.0)


def test_kernels_see_what_plain_torch_sees_and_carry_the_same_gradients_back(samples):
    pytest.importorskip("warp")
    density, colour = matter(samples)
    assert can_be_fused(density)
    found, expected = fused_composed(density, colour, samples), composed(density, colour, samples)
    assert expected.opacity[4] > 0.99
    assert 0.1 < expected.opacity[2] < 0.9
    assert 0.0 < expected.opacity[THIN] < LEAST_OPACITY
    rest = samples.ray < THIN  # the gradients of those that see hardly anything are ten thousand times as large
    random = torch.Generator().manual_seed(2)
    *of_rays, (visible, plainly_visible) = zip(found, expected, strict=True)
    assert_close(visible, plainly_visible)
    # 1 − exp(−x) of so small an x is 3 % larger or smaller where exp is rounded to the next number, and so is all of it
    about, is_thin = 0.05, samples.ray == THIN
    others = [ray for ray in range(len(COUNTS)) if ray != THIN]
    for one, other in of_rays:
        assert_close(one[others], other[others])
        assert_close(one[THIN], other[THIN], about)
    for one, other in zip(found, expected, strict=True):
        towards = torch.randn(other.shape, generator=random)
        gradients = (
            torch.autograd.grad(seen, (density, colour), towards, retain_graph=True, allow_unused=True)
            for seen in (one, other)
        )
        for by_kernel, plain in zip(*gradients, strict=True):
            plain = torch.zeros_like(by_kernel) if plain is None else plain
            assert_close(by_kernel[~is_thin], plain[~is_thin])
            assert_close(by_kernel[is_thin], plain[is_thin], about)
            assert_close(by_kernel[rest], plain[rest])


def test_only_single_precision_is_left_to_kernels(samples):
    density, colour = (each.double() for each in matter(samples))
    assert not can_be_fused(density)
    double = dataclasses.replace(samples, step=samples.step.double(), distance=samples.distance.double())
    assert composed(density, colour, double).rgb.dtype == torch.float64


@pytest.mark.parametrize("mode", ["textureless", "lit"])
def test_shaded_surfaces_have_the_gradients_of_plain_torch(samples, mode, monkeypatch):
    pytest.importorskip("warp")
    config = FieldConfig(0.7, (4, 7, 30), features=2, hidden=8, blob_density=4.0, blob_radius=0.6, log2_table_size=9)
    field = RadianceField(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for level in field.grids:
            level.mul_(1e3)
    light = Shading(mode, torch.tensor([0.3, -0.2, 0.1]), field.cell)

    def gradients():
        field.zero_grad()
        seen, _ = render_samples(field, samples, light)
        (seen.rgb * torch.randn(seen.rgb.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in field.parameters()])

    assert field.grids.are_fused(samples.points)
    by_kernels = gradients()
    monkeypatch.setattr(encoding, "can_be_fused", lambda *_: False)
    plain = gradients()
    assert (by_kernels - plain).norm() < 1e-4 * plain.norm()
    assert plain.norm() > 0.0
