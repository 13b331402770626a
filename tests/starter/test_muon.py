"""Muon's updates: orthogonal, as large as AdamW's, and those of convolutions too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sdi_engine.starter.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(24, 24), (8, 50), (50, 8)])
def test_singular_values_come_near_to_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalise(torch.stack([torch.zeros(shape), matrix]))[1] @ right.T
    # Jordan's coefficients do not converge exactly, and a tiny singular value grows slowly.
    strong = values > 0.1 * values[0]
    assert found.diagonal()[strong].min() > 0.6
    assert found.diagonal().max() < 1.3
    assert (found - found.diagonal().diag()).abs().max() < 1e-4


def test_zero_gradients_give_no_nan() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 3, 5)), torch.zeros(1, 3, 5))


def test_a_convolution_moves_as_its_matrix_does_and_by_the_rate() -> None:
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    convolution, matrix = nn.Parameter(weight.clone()), nn.Parameter(weight.flatten(1).clone())
    gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    convolution.grad, matrix.grad = gradient, gradient.flatten(1)
    Muon([convolution, matrix], lr=0.01, weight_decay=0.0).step()
    torch.testing.assert_close(convolution.detach().flatten(1), matrix.detach())
    moved = (convolution.detach() - weight).square().mean().sqrt()
    assert moved == pytest.approx(0.2 * 0.01, rel=0.25)


def test_weights_decay_by_the_rate() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    weight.grad = torch.zeros(3, 3)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((3, 3), 0.95))


def test_it_finds_the_minimum_of_a_stretched_bowl() -> None:
    target = torch.randn(6, 10, generator=torch.Generator().manual_seed(3))
    stretch = torch.logspace(0, 3, 10)
    weight = nn.Parameter(torch.zeros(6, 10))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        loss = (stretch * (weight - target).square()).mean()
        (weight.grad,) = torch.autograd.grad(loss, [weight])
        optimizer.step()
    assert loss < 1e-2 * (stretch * target.square()).mean()
