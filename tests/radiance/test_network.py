"""The field's network block by block, against the same two layers at once."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sdi_engine.radiance import network


@pytest.mark.parametrize("points", [0, 1, 100])
def test_blocks_give_the_values_and_gradients_of_the_whole(points, monkeypatch):
    monkeypatch.setitem(network.POINTS_AT_ONCE, "cpu", 30)
    torch.manual_seed(0)
    hidden, output = nn.Linear(6, 8), nn.Linear(8, 4)
    features = torch.randn(points, 6, requires_grad=True)
    asked = [features, hidden.weight, hidden.bias, output.weight, output.bias]
    found = network.two_layers(features, hidden, output.weight, output.bias)
    expected = F.linear(F.relu(hidden(features)), output.weight, output.bias)
    towards = torch.randn_like(expected)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0)
    for one, other in zip(
        torch.autograd.grad(found, asked, towards), torch.autograd.grad(expected, asked, towards), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0.0)
