"""Samples along rays: those of all intervals that are in occupied cells and in sight, and no others."""

import pytest
import torch

from sdi_engine import threads as worker_threads
from sdi_engine.cameras import orbit
from sdi_engine.config.settings import PRESETS
from sdi_engine.radiance.marching import can_be_fused, fused_samples_along
from sdi_engine.radiance.occupancy import OccupancyGrid
from sdi_engine.radiance.samples import Samples, samples_along

INTERVALS = 64
BOUND = 0.7
CPU = torch.device("cpu")


@pytest.fixture
def rays():
    camera = orbit(PRESETS["draft"].cameras, [30.0], 20.0, torch.device("cpu"))
    return tuple(tensor.reshape(-1, 3) for tensor in camera.rays(12))


def occupancy_of(*boxes):
    """Nothing but some boxes of cells, each a slice along every axis."""
    grid = OccupancyGrid(BOUND, 16)
    grid.occupied.zero_()
    for box in boxes:
        grid.occupied[box, box, box] = True
    return grid


def by_hand(occupancy, origins, directions, offsets):
    """Ray and distance of every sample, one interval after the other."""
    found = []
    for ray, (origin, direction) in enumerate(zip(origins, directions, strict=True)):
        ends = torch.stack([(-BOUND - origin) / direction, (BOUND - origin) / direction])
        near, far = ends.amin(dim=0).max().clamp(min=0.0), ends.amax(dim=0).min()
        if far <= near:
            continue
        for interval in range(INTERVALS):
            distance = near + (far - near) / INTERVALS * (interval + offsets[ray, interval])
            if occupancy.occupied_at(origin + distance * direction):
                found.append((ray, distance.item()))
    return found


@pytest.mark.parametrize("boxes", [[slice(6, 10)], [slice(1, 3), slice(11, 15)], [slice(0, 16)]])
def test_they_are_those_of_all_intervals_in_occupied_cells(rays, boxes):
    occupancy = occupancy_of(*boxes)
    samples = samples_along(occupancy, *rays, INTERVALS, torch.Generator().manual_seed(3))
    offsets = torch.rand(len(rays[0]), INTERVALS, generator=torch.Generator().manual_seed(3))
    expected = by_hand(occupancy, *rays, offsets)
    assert samples.ray.tolist() == [ray for ray, _ in expected]
    assert samples.distance.tolist() == pytest.approx([distance for _, distance in expected], abs=1e-5)


def test_nothing_is_sampled_where_nothing_is_or_behind_a_wall(rays):
    assert len(samples_along(occupancy_of(), *rays, INTERVALS, None)) == 0
    away = rays[0], -rays[1]
    assert len(samples_along(occupancy_of(slice(6, 10)), *away, INTERVALS, None)) == 0
    everywhere = occupancy_of(slice(0, 16))
    open_space = samples_along(everywhere, *rays, INTERVALS, None)
    everywhere.lowest.fill_(1e6)
    assert len(samples_along(everywhere, *rays, INTERVALS, None)) == len(open_space.ray.unique())


def test_parts_together_are_the_whole(rays):
    occupancy = occupancy_of(slice(6, 10))
    whole = samples_along(occupancy, *rays, INTERVALS, None)
    parts = zip(rays[0].split(50), rays[1].split(50), strict=True)
    together = Samples.cat([samples_along(occupancy, *part, INTERVALS, None) for part in parts])
    for name in ("origins", "directions", "step", "ray", "distance"):
        assert torch.equal(getattr(whole, name), getattr(together, name))
    assert torch.equal(whole.points, together.points)
    assert len(whole.those(whole.ray == whole.ray[0])) < len(whole)


@pytest.mark.parametrize("random", [None, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_kernel_finds_those_of_plain_torch(random, threads, monkeypatch):
    """But for a few whose cell is a matter of rounding."""
    pytest.importorskip("warp")
    monkeypatch.setattr(worker_threads, "WORTH_THREADS", 0)
    torch.set_num_threads(threads)
    rays = [tensor.reshape(-1, 3) for tensor in orbit(PRESETS["draft"].cameras, [30.0], 20.0, CPU).rays(24)]
    occupancy = occupancy_of(slice(1, 5), slice(8, 13))
    occupancy.lowest[9:12, 9:12, 9:12] = 60.0
    expected, found = (
        find(occupancy, *rays, INTERVALS, random and torch.Generator().manual_seed(random))
        for find in (samples_along, fused_samples_along)
    )
    assert can_be_fused(rays[0])
    assert 0 < len(expected) < len(samples_along(occupancy_of(slice(1, 5), slice(8, 13)), *rays, INTERVALS, None))
    both = [
        {(ray, round(distance, 4)) for ray, distance in zip(each.ray.tolist(), each.distance.tolist(), strict=True)}
        for each in (expected, found)
    ]
    assert len(both[0] ^ both[1]) <= 0.01 * len(expected)
    assert found.ray.dtype == torch.long
    assert (found.ray.diff() >= 0).all()
    torch.testing.assert_close(found.step, expected.step)


def test_a_kernel_finds_nothing_where_nothing_is(rays):
    pytest.importorskip("warp")
    assert len(fused_samples_along(occupancy_of(), *rays, INTERVALS, None)) == 0
    assert len(fused_samples_along(occupancy_of(slice(6, 10)), rays[0], -rays[1], INTERVALS, None)) == 0
