"""An instance is committed to a mode, the average of some is not."""

import dataclasses

import numpy as np
import pytest
import torch

from sdi_engine.evaluation.commitment import Commitment, Modes, _along
from sdi_engine.evaluation.geometry import Shape
from sdi_engine.evaluation.measure import Truths
from sdi_engine.evaluation.pictures import render_around
from sdi_engine.starter import world
from sdi_engine.starter.render import sample_surface
from sdi_engine.starter.world import Item, Subject

ROCKET = Subject(Item("rocket", "red"))


def seen(silhouette, colour):
    """One view of something flat: where it is, and in which colours."""
    alpha = torch.tensor(silhouette, dtype=torch.float32)[None]
    rgb = torch.tensor(colour, dtype=torch.float32)[None, ..., None].expand(-1, -1, -1, 3)
    return alpha.bool(), torch.cat([rgb * alpha[..., None], alpha[..., None]], dim=-1)


LEFT = seen([[1, 1, 0]], [[1.0, 0.0, 0.0]])
RIGHT = seen([[0, 1, 1]], [[0.0, 1.0, 0.0]])
BOTH = seen([[1, 1, 1]], [[1.0, 0.5, 0.0]])
NEITHER = seen([[0, 1, 0]], [[0.0, 0.5, 0.0]])


def modes(*instances):
    silhouettes, pictures = zip(*instances, strict=True)
    return Modes(torch.stack(silhouettes), (torch.stack(pictures) * 255).to(torch.uint8))


def test_the_ends_of_the_scale():
    two = modes(LEFT, RIGHT)
    assert two.commitment(*LEFT) == Commitment(1.0, 1.0)
    assert two.commitment(*RIGHT) == Commitment(1.0, 1.0)
    for average in (BOTH, NEITHER):
        found = two.commitment(*average)
        assert (found.shape, found.texture) == (0.0, pytest.approx(0.0, abs=0.01))


def test_it_is_the_comparison_of_two_distances():
    random = torch.Generator().manual_seed(0)
    instances, result = torch.rand(5, 40, generator=random), torch.rand(40, generator=random)
    mean = instances.mean(dim=0)
    nearest = min(instances, key=lambda one: (one - result).square().sum())
    to_mean, to_nearest = (result - mean).square().sum(), (result - nearest).square().sum()
    wanted = 0.5 + (to_mean - to_nearest) / (2.0 * (nearest - mean).square().sum())
    assert _along(instances, result) == pytest.approx(float(wanted), abs=1e-4)


def test_noise_counts_neither_way():
    random = torch.Generator().manual_seed(0)
    instances = torch.cat([torch.zeros(2, 1000), torch.eye(2)], dim=1)
    for place, wanted in ((0, 1.0), (1, 1.0), (None, 0.0)):
        result = instances.mean(dim=0) if place is None else instances[place].clone()
        result[:1000] = torch.randn(1000, generator=random)
        assert _along(instances, result) == pytest.approx(wanted, abs=1e-4)


def test_where_something_is_not_painted_counts_not_for_its_texture():
    """Left alone: its own outline is another one than the right's, and its colours are those of the mean there."""
    one = seen([[1, 1, 0]], [[1.0, 0.25, 0.0]])
    assert modes(LEFT, RIGHT).commitment(*one).texture == pytest.approx(0.5, abs=0.01)
    assert modes(LEFT, RIGHT).commitment(*one).shape == 1.0


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
    assert found.texture > 0.2
    assert found.shape > of_average.shape + 0.1
    assert of_truth.shape > of_average.shape + 0.1
    assert of_truth.texture > 0.2
    one = dataclasses.replace(truths.modes)
    assert one.commitment(one.silhouettes[2], one.pictures[2] / 255).shape == pytest.approx(1.0)
