import dataclasses

import pytest
import torch

from sdi_engine.cameras import SAMPLERS, orbit, sample, sample_pairs
from sdi_engine.config.cameras import CameraRanges
from sdi_engine.config.parameters import VIEWS
from sdi_engine.diffusion.views import view_words

RANGES = CameraRanges(elevation=(-10.0, 45.0), fov=(40.0, 40.0), half_frame=(0.8, 0.8), jitter=0.0)
DISTANCES = CameraRanges(
    elevation=(-10.0, 45.0),
    fov=(40.0, 70.0),
    half_frame=None,
    jitter=0.0,
    distance=(1.5, 2.0),
    position_jitter=0.1,
    target_deviation=0.2,
    up_deviation=0.02,
    spread="independent",
)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("azimuth", "direction", "right"),
    [(0.0, (0, -1, 0), (1, 0, 0)), (90.0, (1, 0, 0), (0, 1, 0)), (180.0, (0, 1, 0), (-1, 0, 0))],
)
def test_azimuth_zero_stands_before_the_front_and_ninety_on_plus_x(azimuth, direction, right):
    camera = orbit(RANGES, [azimuth], 0.0, CPU)
    torch.testing.assert_close(camera.position[0] / camera.distance, torch.tensor(direction).float())
    torch.testing.assert_close(camera.axes()[0][0], torch.tensor(right).float())
    torch.testing.assert_close(camera.axes()[1][0], torch.tensor([0.0, 0.0, 1.0]))


def test_rays_span_the_frame():
    """The outermost pixel centres see the half frame at the origin's distance, less half a pixel."""
    camera = orbit(RANGES, [0.0], 0.0, CPU)
    origins, directions = camera.rays(16)
    reach = camera.distance / directions[..., 1]
    hit = origins + reach[..., None] * directions
    edge = 0.8 * (1.0 - 1.0 / 16)
    torch.testing.assert_close(hit[0, 0, 0], torch.tensor([-edge, 0.0, edge]), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(hit[0, 15, 15], torch.tensor([edge, 0.0, -edge]), atol=1e-5, rtol=0.0)


def test_sampled_cameras_keep_to_their_ranges_and_spread_around():
    cameras = sample(RANGES, 4, torch.Generator().manual_seed(0))
    assert ((cameras.elevation >= -10.0) & (cameras.elevation <= 45.0)).all()
    turns = (cameras.azimuth - cameras.azimuth[0]) % 360.0
    torch.testing.assert_close(turns, torch.tensor([0.0, 90.0, 180.0, 270.0]), atol=1e-3, rtol=0.0)


def test_a_seed_draws_the_cameras_that_it_drew_before_there_were_more_options():
    """The numbers come from the version before, so that unfinished jobs can be resumed from their checkpoints."""
    ranges = CameraRanges(elevation=(-10.0, 45.0), fov=(35.0, 50.0), half_frame=(0.7, 0.85), jitter=0.03)
    random, plain = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    cameras = sample(ranges, 2, random)
    torch.rand(1 + 2 + 2 + 2 + 2 * 3, generator=plain)
    assert torch.equal(random.get_state(), plain.get_state()), "the next step would have other cameras"
    torch.testing.assert_close(cameras.azimuth, torch.tensor([298.890686, 118.890686]))
    torch.testing.assert_close(cameras.elevation, torch.tensor([35.0959854, 40.605690]))
    torch.testing.assert_close(cameras.distance, torch.tensor([2.1511283, 1.6044915]))
    torch.testing.assert_close(cameras.fov, torch.tensor([36.8916626, 48.6120453]))
    torch.testing.assert_close(cameras.target[1], torch.tensor([0.0063857, 0.0038743, -0.0256553]), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(cameras.position[0], torch.tensor([-1.5409836, -0.8503419, 1.2367867]))
    torch.testing.assert_close(cameras.axes()[0][0], torch.tensor([0.4674284, -0.8840310, 0.0]))


def test_the_papers_cameras_have_its_distances_and_jitter():
    cameras, again = (sample(DISTANCES, 4000, torch.Generator().manual_seed(0)) for _ in range(2))
    assert all(torch.equal(getattr(cameras, name), getattr(again, name)) for name in vars(cameras))
    assert cameras.distance.min() >= 1.5
    assert cameras.distance.max() <= 2.0
    assert cameras.shift.abs().max() <= 0.1
    on_sphere = dataclasses.replace(cameras, shift=torch.zeros(4000, 3)).position
    torch.testing.assert_close(on_sphere.norm(dim=1), cameras.distance)
    torch.testing.assert_close(cameras.position, on_sphere + cameras.shift)
    assert cameras.shift.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert cameras.target.std().item() == pytest.approx(0.2, rel=0.05)
    assert (cameras.world_up - torch.tensor([0.0, 0.0, 1.0])).std().item() == pytest.approx(0.02, rel=0.05)
    quarters = torch.histc(cameras.azimuth, bins=4, min=0.0, max=360.0)
    assert quarters.min() > 900


def test_axes_stay_upright_and_at_right_angles_under_jitter():
    right, up, forward = sample(DISTANCES, 64, torch.Generator().manual_seed(0)).axes()
    frame = torch.stack([right, up, -forward], dim=1)
    torch.testing.assert_close(frame @ frame.mT, torch.eye(3).expand(64, 3, 3), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(torch.linalg.det(frame), torch.ones(64))
    assert up[:, 2].min() > 0.3
    assert right[:, 2].abs().max() > 0.0


def test_views_of_a_step_are_spread_as_asked():
    def turns(spread, count, seed=0):
        ranges = dataclasses.replace(DISTANCES, spread=spread)
        azimuth = sample(ranges, count, torch.Generator().manual_seed(seed)).azimuth
        assert azimuth.shape == (count,)
        return ((azimuth.diff() + 360.0) % 360.0).tolist()

    assert turns("even", 4) == pytest.approx([90.0] * 3, abs=1e-3)
    antithetic = turns("antithetic", 4)
    assert [antithetic[0], antithetic[2]] == pytest.approx([180.0] * 2, abs=1e-3)
    assert antithetic[1] != pytest.approx(180.0, abs=1.0)
    assert len(turns("antithetic", 5)) == 4
    assert turns("independent", 2, seed=0) != pytest.approx(turns("independent", 2, seed=1), abs=1.0)


@pytest.mark.parametrize("count", [2, 4, 6])
@pytest.mark.parametrize("spread", ["even", "antithetic", "independent"])
def test_antithetic_pairs_look_from_opposite_sides_and_share_all_but_the_jitter(spread, count):
    ranges = dataclasses.replace(DISTANCES, spread=spread)
    cameras = sample_pairs(ranges, count, torch.Generator().manual_seed(0))
    assert len(cameras) == count
    for name in ("elevation", "distance", "fov"):
        numbers = getattr(cameras, name)
        assert torch.equal(numbers[::2], numbers[1::2])
        assert len(numbers.unique()) == count // 2
    torch.testing.assert_close(cameras.azimuth[1::2], cameras.azimuth[::2] + 180.0)
    assert not torch.equal(cameras.shift[::2], cameras.shift[1::2])
    still = dataclasses.replace(cameras, shift=torch.zeros(count, 3)).position
    torch.testing.assert_close(still[1::2], still[::2] * torch.tensor([-1.0, -1.0, 1.0]), atol=1e-6, rtol=0.0)


def test_pairs_of_an_even_spread_stand_evenly_around_and_no_two_cameras_in_one_place():
    azimuth = sample_pairs(RANGES, 8, torch.Generator().manual_seed(0)).azimuth
    turns = (azimuth.sort().values.diff()).tolist()
    assert turns == pytest.approx([45.0] * 7, abs=1e-3)


def test_one_of_a_pair_sees_the_front_where_the_other_sees_the_back():
    opposite = {"front view": "back view", "back view": "front view", "side view": "side view"}
    seen = set()
    for seed in range(20):
        cameras = sample_pairs(RANGES, 2, torch.Generator().manual_seed(seed))
        one, other = map(view_words, cameras.azimuth.tolist(), cameras.elevation.tolist())
        assert other == opposite[one]
        seen.add(one)
    assert {"front view", "side view"} <= seen


def test_an_odd_number_of_views_is_no_pairs():
    with pytest.raises(ValueError, match="3 views"):
        sample_pairs(RANGES, 3, torch.Generator())


def test_the_ways_to_draw_cameras_have_the_names_of_requests():
    assert tuple(SAMPLERS) == VIEWS


def test_whole_numbers_of_degrees_give_the_same_orbit():
    whole, decimal = (orbit(RANGES, azimuths, 10, CPU) for azimuths in ([45], [45.0]))
    assert torch.equal(whole.position, decimal.position)
    assert torch.equal(whole.fov, decimal.fov)


def test_orbits_take_the_middle_of_the_distances():
    camera = orbit(DISTANCES, [0.0], 0.0, CPU)
    torch.testing.assert_close(camera.position, torch.tensor([[0.0, -1.75, 0.0]]))
    assert camera.fov.item() == 55.0


@pytest.mark.parametrize("given", [{"half_frame": (0.7, 0.8)}, {"distance": None}])
def test_half_frame_and_distance_exclude_each_other(given):
    with pytest.raises(ValueError, match="either half_frame or distance"):
        dataclasses.replace(DISTANCES, **given)


@pytest.mark.parametrize("ranges", [RANGES, DISTANCES], ids=["by frame", "by distance"])
def test_the_frame_is_what_the_cameras_see_at_the_origin_in_the_middle_of_the_ranges(ranges):
    middle = orbit(ranges, [0.0], 0.0, CPU)
    height = 2.0 * middle.distance * torch.tan(torch.deg2rad(middle.fov) / 2.0)
    assert height.item() == pytest.approx(ranges.frame, rel=1e-5)
