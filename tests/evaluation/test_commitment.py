"""An instance is committed to a mode, the average of some is not."""

import dataclasses

import numpy as np
import pytest
import torch

from sdi_engine.evaluation.commitment import Commitment, Modes, _along
from sdi_engine.evaluation.geometry import Shape
from sdi_engine.evaluation.measure import Truths
from sdi_engine.evaluation.pictures import render_around
from sdi_engine.starter import paint, world
from sdi_engine.starter.render import sample_surface
from sdi_engine.starter.world import Item, Subject

ROCKET = Subject(Item("rocket", "red"))


SIZE = 24


def seen(silhouette, period, contrast=1.0, phase=0):
    """One view of something flat: in which thirds of the picture it is, and its upright stripes."""
    alpha = torch.tensor(silhouette, dtype=torch.float32).repeat_interleave(SIZE // 3).expand(SIZE, SIZE)
    light = (torch.arange(SIZE) + phase) // period % 2 == 0
    rgb = (0.5 + contrast * (light.float() - 0.5)).expand(SIZE, SIZE)[..., None].expand(-1, -1, 3)
    return alpha.bool()[None], torch.cat([rgb * alpha[..., None], alpha[..., None]], dim=-1)[None]


LEFT = seen([1, 1, 0], 4)
RIGHT = seen([0, 1, 1], 4, phase=4)
BOTH = seen([1, 1, 1], 4, contrast=0.0)
NEITHER = seen([0, 1, 0], 4, contrast=0.0)


def modes(*instances):
    silhouettes, pictures = zip(*instances, strict=True)
    return Modes(torch.stack(silhouettes), (torch.stack(pictures) * 255).to(torch.uint8))


def flat(pattern, seed):
    """A pattern of the world as a flat picture (1, 64, 64, 4), as large as on a thing."""
    x, z = np.meshgrid(np.linspace(-0.75, 0.75, 64), np.linspace(0.75, -0.75, 64))
    points = np.stack([x, np.zeros_like(x), z], axis=-1).reshape(-1, 3)
    rng = np.random.default_rng(seed)
    cover = torch.from_numpy(paint.make_pattern(pattern, rng.permutation(points)[:200], rng)(points))
    colours = torch.lerp(torch.tensor([0.1, 0.3, 0.9]), torch.ones(3), cover.float()[:, None]).reshape(1, 64, 64, 3)
    return torch.cat([colours, torch.ones(1, 64, 64, 1)], dim=-1)


def texture(instances, result):
    """The texture's commitment, of pictures (1, 64, 64, 4)."""
    everywhere = torch.ones(len(instances), 1, 64, 64, dtype=torch.bool)
    found = Modes(everywhere, (torch.stack(instances) * 255).to(torch.uint8)).commitment(everywhere[0], result)
    return found.texture


def test_the_ends_of_the_scale():
    two = modes(LEFT, RIGHT)
    assert two.commitment(*LEFT) == Commitment(1.0, pytest.approx(1.0))
    assert two.commitment(*RIGHT) == Commitment(1.0, pytest.approx(1.0))
    for average in (BOTH, NEITHER):
        assert two.commitment(*average).shape == 0.0
    of_average = two.of_average()
    assert (of_average.shape, of_average.texture) == (0.0, pytest.approx(0.0, abs=0.01))


def test_it_is_the_comparison_of_two_distances():
    random = torch.Generator().manual_seed(0)
    instances, result = torch.rand(5, 40, generator=random), torch.rand(40, generator=random)
    mean = instances.mean(dim=0)
    nearest = min(instances, key=lambda one: (one - result).square().sum())
    to_mean, to_nearest = (result - mean).square().sum(), (result - nearest).square().sum()
    wanted = 0.5 + (to_mean - to_nearest) / (2.0 * (nearest - mean).square().sum())
    assert _along(instances, mean, result) == pytest.approx(float(wanted), abs=1e-4)


def test_noise_counts_neither_way():
    random = torch.Generator().manual_seed(0)
    instances = torch.cat([torch.zeros(2, 1000), torch.eye(2)], dim=1)
    for place, wanted in ((0, 1.0), (1, 1.0), (None, 0.0)):
        result = instances.mean(dim=0) if place is None else instances[place].clone()
        result[:1000] = torch.randn(1000, generator=random)
        assert _along(instances, instances.mean(dim=0), result) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("designs", [2, 3, 4])
def test_an_average_of_two_out_of_several_designs_is_near_their_mean(designs):
    shapes = torch.eye(designs)
    found = _along(shapes, shapes.mean(dim=0), shapes[:2].mean(dim=0))
    assert found == pytest.approx((designs - 2) / (2 * designs - 2), abs=1e-6)


@pytest.mark.parametrize("pattern", paint.PATTERNS[1:])
def test_it_does_not_matter_where_a_pattern_lies_but_that_it_is_there(pattern):
    """Dots of one instance lie where another has none: by the pixel, a dotted thing is like none of them."""
    instances = [flat(pattern, seed) for seed in range(12)]
    fresh = [flat(pattern, 100 + seed) for seed in range(6)]
    mean = torch.stack(fresh).mean(dim=0)
    plain = mean.mean(dim=(1, 2), keepdim=True)
    assert np.mean([texture(instances, one) for one in fresh]) > 0.75
    assert np.mean([texture(instances, torch.lerp(plain, one, 0.5)) for one in fresh]) < 0.4
    assert texture(instances, mean) < 0.3
    noisy = torch.stack(instances).mean(dim=0)
    noisy[..., :3] += 0.05 * torch.randn(noisy[..., :3].shape, generator=torch.Generator().manual_seed(0))
    assert texture(instances, noisy) == pytest.approx(0.0, abs=0.05)


def test_the_direction_and_the_size_of_a_pattern_matter():
    upright, wide = (seen([1, 1, 1], period)[1] for period in (4, 8))
    level = upright.transpose(1, 2)
    two = Modes(torch.ones(2, 1, 1, 1, dtype=torch.bool), (torch.stack([upright, level]) * 255).to(torch.uint8))
    nothing = torch.ones(1, 1, 1, dtype=torch.bool)
    assert two.commitment(nothing, upright).texture == pytest.approx(1.0)
    assert two.commitment(nothing, (upright + level) / 2).texture < 0.3
    assert two.commitment(nothing, wide).texture < 0.7


def test_where_something_is_not_painted_counts_not_for_its_texture():
    """Stripes in the middle third alone, over the mean colours elsewhere, where the other's outline is."""
    both = modes(LEFT, RIGHT)
    middle = both.commitment(*seen([0, 1, 0], 4))
    assert middle.shape == 0.0
    assert middle.texture == pytest.approx(1.0)
    assert both.commitment(*NEITHER).texture < 0.1


def test_of_instances_that_do_not_differ_nothing_is_said():
    assert modes(LEFT, LEFT).commitment(*RIGHT) == Commitment(None, None)
    assert modes(LEFT).of_truth() == Commitment(None, None)
    assert Commitment.mean([Commitment(None, 0.5), Commitment(0.2, 0.7)]) == Commitment(0.2, pytest.approx(0.6))


def test_an_instance_of_the_world_is_committed_and_their_average_is_not():
    truths = Truths.of.__wrapped__(Truths, ROCKET, count=5)
    fresh = sample_surface(world.make_instance(ROCKET, np.random.default_rng(7)))
    found = truths.modes.commitment(Shape.of(fresh).silhouettes, render_around(fresh))
    of_truth, of_average = truths.modes.of_truth(), truths.modes.of_average()
    assert of_average.texture == pytest.approx(0.0, abs=1e-3)
    assert found.texture > 0.6
    assert found.shape > of_average.shape + 0.1
    assert of_truth.shape > of_average.shape + 0.1
    assert of_truth.texture > 0.6
    one = dataclasses.replace(truths.modes)
    assert one.commitment(one.silhouettes[2], one.pictures[2] / 255).shape == pytest.approx(1.0)
