import math

import pytest
import torch

from sdi_engine.radiance.regularisers import opaqueness, sparsity, z_variance


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
    rendered = torch.full((2, 8, 8, 1), opacity, requires_grad=True)
    variance = torch.zeros(2, 8, 8, 1, requires_grad=True)
    (sparsity(rendered) + opaqueness(rendered) + z_variance(variance, rendered)).backward()
    assert rendered.grad.isfinite().all()
    assert variance.grad.isfinite().all()
