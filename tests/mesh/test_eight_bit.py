"""NaN and infinite values never become a picture."""

import numpy as np
import pytest
import torch
from exact_prior import ExactPrior, ball_images

from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import EXIT_NO_OBJECT, BrokenNumbersError
from sdi_engine.mesh.eight_bit import eight_bit, is_finite
from sdi_engine.run.guidance import Guidance
from sdi_engine.run.previews import to_image
from sdi_engine.run.resolve import resolve

NONE = [float("nan"), float("inf"), -float("inf")]


def test_colours_are_rounded_and_clamped():
    colours = torch.tensor([-0.5, 0.0, 0.5, 0.9999, 1.0, 1.5])
    assert eight_bit(colours).tolist() == [0, 0, 128, 255, 255, 255]
    assert np.asarray(to_image(torch.full((3, 2, 2), 0.5)))[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("number", NONE)
def test_a_picture_with_nan_or_infinity_is_refused(number):
    picture = torch.full((3, 4, 4), 0.5)
    picture[1, 2, 3] = number
    with pytest.raises(BrokenNumbersError) as caught:
        to_image(picture)
    assert caught.value.exit_code == EXIT_NO_OBJECT
    assert not is_finite(torch.zeros(2), picture)


@pytest.mark.parametrize("noise", ["inversion", "random"])
@pytest.mark.parametrize("number", NONE)
def test_a_model_that_returns_nan_or_infinity_is_named(noise, number, monkeypatch):
    prior = ExactPrior({"ball": ball_images(16)})
    request = JobRequest("ball", preset="draft", noise=noise)
    guidance = Guidance(prior, resolve(request, prior.hints, 16), 0)
    asked = torch.zeros(1, 3, 16, 16), torch.tensor([0.5]), prior.condition(["ball"])
    assert is_finite(guidance.target(*asked, torch.Generator()).x0)
    prior._images[:, 5] = number
    with pytest.raises(
        BrokenNumbersError, match=r"model returned values that are NaN or infinite.*lower guidance scale"
    ):
        guidance.target(*asked, torch.Generator())
