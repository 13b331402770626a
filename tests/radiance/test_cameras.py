import pytest
import torch

from sdi_engine.radiance.cameras import CameraRanges

RANGES = CameraRanges(elevation=(-10.0, 45.0), fov=(40.0, 40.0), half_frame=(0.8, 0.8), jitter=0.0)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("azimuth", "direction", "right"),
    [(0.0, (0, -1, 0), (1, 0, 0)), (90.0, (1, 0, 0), (0, 1, 0)), (180.0, (0, 1, 0), (-1, 0, 0))],
)
def test_azimuth_zero_stands_before_the_front_and_ninety_on_plus_x(azimuth, direction, right):
    camera = RANGES.orbit([azimuth], 0.0, CPU)
    torch.testing.assert_close(camera.position[0] / camera.distance, torch.tensor(direction).float())
    torch.testing.assert_close(camera.axes()[0][0], torch.tensor(right).float())
    torch.testing.assert_close(camera.axes()[1][0], torch.tensor([0.0, 0.0, 1.0]))


def test_rays_span_the_frame():
    """The outermost pixel centres see the half frame at the origin's distance, less half a pixel."""
    camera = RANGES.orbit([0.0], 0.0, CPU)
    origins, directions = camera.rays(16)
    reach = camera.distance / directions[..., 1]
    hit = origins + reach[..., None] * directions
    edge = 0.8 * (1.0 - 1.0 / 16)
    torch.testing.assert_close(hit[0, 0, 0], torch.tensor([-edge, 0.0, edge]), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(hit[0, 15, 15], torch.tensor([edge, 0.0, -edge]), atol=1e-5, rtol=0.0)


def test_sampled_cameras_keep_to_their_ranges_and_spread_around():
    cameras = RANGES.sample(4, torch.Generator().manual_seed(0))
    assert ((cameras.elevation >= -10.0) & (cameras.elevation <= 45.0)).all()
    turns = (cameras.azimuth - cameras.azimuth[0]) % 360.0
    torch.testing.assert_close(turns, torch.tensor([0.0, 90.0, 180.0, 270.0]), atol=1e-3, rtol=0.0)
