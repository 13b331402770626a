import pytest
import torch
import torch.nn.functional as F

from sdi_engine.studies.metrics import all_pixels, object_pixels, saturation, sharpness


def blurred(images, size=5):
    return F.avg_pool2d(F.pad(images, [size // 2] * 4, mode="replicate"), size, stride=1)


def test_a_blurred_picture_is_less_sharp(random):
    picture = blurred(torch.rand(2, 3, 48, 48, generator=random), 3)
    mask = all_pixels(picture)
    original, once, twice = (sharpness(image, mask) for image in (picture, blurred(picture), blurred(blurred(picture))))
    assert original > 1.5 * once > 1.5 * twice > 0.0


def test_sharpness_of_a_ramp_is_its_slope_per_pixel():
    ramp = (torch.arange(32) * 0.02).expand(1, 3, 32, 32)
    inner = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    inner[..., 4:28, 4:28] = True
    assert sharpness(ramp, inner) == pytest.approx(0.02, rel=1e-4)
    assert sharpness(ramp.mT, inner) == pytest.approx(0.02, rel=1e-4)


def test_neither_the_silhouette_nor_the_background_counts(random):
    opacity = torch.zeros(1, 1, 32, 32)
    opacity[..., 8:24, 8:24] = 1.0
    object_colour = torch.tensor([0.8, 0.4, 0.4]).view(1, 3, 1, 1)
    picture = torch.where(opacity > 0.5, object_colour, torch.rand(1, 3, 32, 32, generator=random))
    mask = object_pixels(opacity)
    assert sharpness(picture, mask) == pytest.approx(0.0, abs=1e-6)
    assert saturation(picture, mask) == pytest.approx(0.5)
    assert sharpness(picture, all_pixels(picture)) > 0.05


def test_saturation_of_known_colours():
    colours = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [0.2, 0.4, 0.3]]).T.view(1, 3, 2, 2)
    assert saturation(colours, all_pixels(colours)) == pytest.approx((1.0 + 0.0 + 0.0 + 0.5) / 4)


def test_without_an_object_both_are_zero():
    picture = torch.rand(1, 3, 8, 8)
    nothing = object_pixels(torch.full((1, 1, 8, 8), 0.4))
    assert sharpness(picture, nothing) == saturation(picture, nothing) == 0.0
