import itertools

import pytest
import torch

from sdi_engine.config.field import geometric_resolutions
from sdi_engine.radiance import encoding
from sdi_engine.radiance.encoding import DenseGrids, HashGrids

RESOLUTIONS = (4, 7, 30)


def make(log2_table_size=9, seed=0):
    """Levels of 4³ = 64 and 7³ = 343 vertices fit into 512 entries; one of 30³ is hashed."""
    return HashGrids(RESOLUTIONS, 2, log2_table_size, torch.Generator().manual_seed(seed))


def points(count=200, seed=1):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0


def test_the_papers_levels_grow_from_16_to_4096():
    resolutions = geometric_resolutions(16, 16, 4096)
    assert len(resolutions) == 16
    assert (resolutions[0], resolutions[1], resolutions[7], resolutions[-1]) == (16, 23, 213, 4096)


def test_tables_hold_all_vertices_where_there_is_room_and_start_near_zero():
    grids = make()
    assert [tuple(table.shape) for table in grids] == [(64, 2), (343, 2), (512, 2)]
    for table in grids:
        assert table.abs().max() <= 1e-4
        assert table.std().item() == pytest.approx(1e-4 / 3**0.5, rel=0.1)


def test_levels_that_fit_are_interpolated_as_dense_grids_are():
    """The same features in a dense grid, whose axes `grid_sample` wants in the order z, y, x. Also on the border."""
    hashed = make()
    dense = DenseGrids(RESOLUTIONS[:2], 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for grid, table, n in zip(dense, hashed, RESOLUTIONS, strict=False):
            grid.copy_(table.view(n, n, n, 2).permute(3, 2, 1, 0)[None])
    corners = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0, 1.2), repeat=3)))
    where = torch.cat([points(), corners])
    torch.testing.assert_close(hashed.features_at(where, 2)[:, :4], dense.features_at(where, 2), atol=1e-9, rtol=0.0)


def test_a_hashed_level_is_trilinear_between_the_entries_of_the_spatial_hash():
    grids, n = make(), RESOLUTIONS[2]
    table = grids[2].detach()
    for point, features in zip(points(20), grids.features_at(points(20), 3)[:, 4:], strict=True):
        position = ((point + 1.0) / 2.0 * (n - 1)).tolist()
        expected = torch.zeros(2)
        for corner in itertools.product((0, 1), repeat=3):
            vertex = [int(along) + end for along, end in zip(position, corner, strict=True)]
            near = 1.0
            for along, end in zip(position, corner, strict=True):
                near *= along % 1.0 if end else 1.0 - along % 1.0
            entry = (vertex[0] ^ (vertex[1] * 2654435761 % 2**32) ^ (vertex[2] * 805459861 % 2**32)) % 512
            expected += near * table[entry]
        torch.testing.assert_close(features, expected, atol=1e-8, rtol=0.0)


def test_vertices_of_a_hashed_level_use_the_whole_table():
    grids, n = make(), RESOLUTIONS[2]
    vertex = torch.tensor(list(itertools.product(range(n), repeat=3))) / (n - 1) * 2.0 - 1.0
    with torch.no_grad():
        grids[2].copy_(torch.arange(512.0)[:, None].expand(512, 2))
    entries = grids.features_at(vertex, 3)[:, 4].round().long()
    used = entries.bincount(minlength=512)
    assert used.min() > 0
    assert used.max() < 4 * used.float().mean()


def test_gradients_reach_the_entries_around_a_point_only_and_active_levels_only():
    grids = make()
    grids.features_at(points(1), 2).sum().backward()
    for table in list(grids)[:2]:
        assert 1 <= (table.grad[:, 0] != 0.0).sum() <= 8
        assert table.grad.sum().item() == pytest.approx(2.0, abs=1e-5)
    assert grids[2].grad is None


@pytest.mark.parametrize("grids", [make(), DenseGrids(RESOLUTIONS, 2, torch.Generator().manual_seed(0))])
def test_inactive_levels_are_zeros(grids):
    features = grids.features_at(points(), 2)
    assert features.shape == (200, 6)
    assert features[:, :4].abs().min() > 0.0
    assert torch.equal(features[:, 4:], torch.zeros(200, 2))


def test_dense_grids_are_read_alike_by_any_number_of_threads_in_plain_torch(monkeypatch):
    """More points than make equal shares."""
    monkeypatch.setattr(encoding, "can_be_fused", lambda *_: False)
    monkeypatch.setattr(encoding, "WORTH_THREADS", 0)

    def features_and_gradients(threads):
        torch.set_num_threads(threads)
        grids = DenseGrids(RESOLUTIONS, 2, torch.Generator().manual_seed(0))
        found = grids.features_at(points(), 3)
        found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(2)))
        return [found.detach(), *(grid.grad for grid in grids)]

    for one, other in zip(features_and_gradients(1), features_and_gradients(3), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * one.abs().max().item(), rtol=0.0)


def test_smoothness_is_the_mean_squared_difference_of_neighbours_with_its_gradient():
    def by_autograd(grids):
        return sum(grid.diff(dim=axis).square().mean() for grid in grids for axis in (2, 3, 4))

    grids = DenseGrids((4, 7), 2, torch.Generator().manual_seed(0))
    expected, found = by_autograd(grids), grids.smoothness(2)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(3.0 * found, list(grids)), torch.autograd.grad(3.0 * expected, list(grids)), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5 * other.abs().max().item(), rtol=0.0)
    assert grids.smoothness(1) < expected
