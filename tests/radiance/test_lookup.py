"""The fused kernels against their twin in plain torch."""

import itertools

import pytest
import torch

from sdi_engine import kernels
from sdi_engine import threads as worker_threads
from sdi_engine.radiance import encoding, lookup
from sdi_engine.radiance.encoding import DenseGrids, HashGrids

RESOLUTIONS = (4, 7, 30)


def dense(features):
    return DenseGrids(RESOLUTIONS, features, torch.Generator().manual_seed(0))


def hashed(features):
    """Two levels have an entry for every vertex, one is hashed."""
    return HashGrids(RESOLUTIONS, features, 9, torch.Generator().manual_seed(0))


def points():
    """Inside, on the border, and beyond it."""
    corners = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0, 1.2), repeat=3)))
    return torch.cat([torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0, corners])


def features_and_gradients(grids, active_levels):
    found = grids.features_at(points(), active_levels)
    found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(2)))
    return found.detach(), [level.grad for level in grids]


@pytest.mark.parametrize("make", [dense, hashed])
@pytest.mark.parametrize(("active_levels", "threads"), [(2, 1), (3, 1), (3, 2)])
def test_warp_finds_the_features_and_gradients_of_plain_torch(make, active_levels, threads, monkeypatch, capfd):
    pytest.importorskip("warp")
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    torch.set_num_threads(threads)
    assert make(2).are_fused(points())
    fused, fused_gradients = features_and_gradients(make(2), active_levels)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(encoding, "can_be_fused", lambda *_: False)
    plain, gradients = features_and_gradients(make(2), active_levels)
    torch.testing.assert_close(fused, plain, atol=1e-4 * plain.abs().max().item(), rtol=0.0)
    assert fused_gradients[2] is gradients[2] is None or active_levels == 3
    for one, other in zip(fused_gradients[:active_levels], gradients, strict=False):
        torch.testing.assert_close(one, other, atol=1e-4 * other.abs().max().item(), rtol=0.0)


def test_where_warp_does_not_work_plain_torch_computes_and_the_log_says_why(monkeypatch, caplog):
    def broken(features):
        raise RuntimeError("no compiler")

    pytest.importorskip("warp")
    monkeypatch.setattr(lookup, "_kernels", broken)
    lookup._works.cache_clear()
    kernels._say_once.cache_clear()
    try:
        found, _ = features_and_gradients(hashed(2), 3)
        features_and_gradients(hashed(2), 3)
    finally:
        lookup._works.cache_clear()
    assert found.abs().max() > 0.0
    assert [record.getMessage() for record in caplog.records] == [
        "Warp does not work here, so another way of computing is taken, more slowly: no compiler"
    ]


def test_gradients_of_the_places_are_left_to_plain_torch():
    where = points().requires_grad_()
    hashed(2).features_at(where, 3).sum().backward()
    assert where.grad.abs().max() > 0.0
