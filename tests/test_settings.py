import dataclasses

import pytest
import torch
from exact_prior import ExactPrior, ball_images

from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.distillation.threestudio import released_noise
from sdi_engine.generate import Generation
from sdi_engine.guidance import Guidance
from sdi_engine.request import PRESETS as PRESET_NAMES
from sdi_engine.request import JobRequest
from sdi_engine.settings import PRESETS, Ramp, resolve


def resolved(hints=None, model_resolution=512, **fields):
    return resolve(JobRequest("a mug", **fields).validated(), hints or ModelHints(), model_resolution)


def test_every_preset_of_a_request_has_its_settings():
    assert set(PRESETS) == set(PRESET_NAMES)


def test_ramp():
    ramp = Ramp(2.0, 1.0, start=0.2, end=0.6)
    assert [ramp(progress) for progress in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([2.0, 2.0, 1.5, 1.0, 1.0])
    step = Ramp(0.1, 0.0, start=0.4, end=0.4)
    assert [step(progress) for progress in (0.0, 0.39, 0.4, 1.0)] == [0.1, 0.1, 0.0, 0.0]


def test_a_request_outdoes_the_preset_and_that_the_model():
    assert resolved().guidance_scale == 7.5
    assert resolved(ModelHints(guidance_scale=3.0)).guidance_scale == 3.0
    settings = resolved(ModelHints(guidance_scale=3.0), guidance_scale=5.0, steps=7, perp_neg="prediction")
    assert (settings.guidance_scale, settings.inversion_guidance_scale) == (5.0, -5.0)
    assert (settings.steps, settings.perp_neg) == (7, "prediction")
    assert resolved(guidance_scale=5.0, inversion_guidance_scale=0.0).inversion_guidance_scale == 0.0


def test_resolution_is_the_models_where_that_is_smaller():
    assert resolved(preset="paper", model_resolution=1024).resolution == 512
    assert resolved(preset="paper", model_resolution=64).resolution == 64
    assert resolved(preset="paper", model_resolution=64, resolution=128).resolution == 128


@pytest.mark.parametrize(
    ("perp_neg", "scales"), [("everywhere", (7.5, -7.5)), ("prediction", (7.5, -7.5)), ("off", (8.5, -6.5))]
)
def test_guidance_of_the_released_code_depends_on_perp_neg(perp_neg, scales):
    """Row 8 of the table: text + s·(text − uncond) is eq. (3) with γ = s + 1."""
    settings = resolved(preset="threestudio", perp_neg=perp_neg)
    assert (settings.guidance_scale, settings.inversion_guidance_scale) == scales
    paper = resolved(preset="paper", perp_neg=perp_neg)
    assert (paper.guidance_scale, paper.inversion_guidance_scale) == (7.5, -7.5)


def test_the_released_code_inverts_in_its_own_way_at_whole_timesteps():
    prior = ExactPrior({"ball": ball_images(16)})
    settings = dataclasses.replace(resolved(preset="threestudio"), perp_neg="off")
    guidance = Guidance(prior, settings, seed=0)
    assert guidance.time(0.1234, torch.Generator()) == 0.889  # 0.98 - 0.73 · 0.1234 = 0.88992
    x0, t = prior.encode(ball_images(16)[:1]), torch.tensor([0.889])
    conditioning = prior.condition(["ball"])
    kappa, x = guidance.noise(x0, t, conditioning, torch.Generator().manual_seed(0))
    expected = released_noise(
        prior, x0, t, conditioning, guidance=-7.5, steps=10, eta=0.3, generator=torch.Generator().manual_seed(0)
    )
    assert x is None
    torch.testing.assert_close(kappa, expected)


@pytest.mark.parametrize("preset", PRESET_NAMES)
@pytest.mark.parametrize("steps", [20, 50])
def test_schedules_scale_with_the_length_of_the_run(preset, steps):
    """Half-way through is half-way down, whatever the number of steps."""
    prior = ExactPrior({"ball": ball_images(16)})
    settings = dataclasses.replace(resolved(preset=preset, steps=steps, resolution=16), samples_per_ray=8)
    generation = Generation(prior, "ball", "", settings, seed=0)
    generation.step = steps // 2
    generation.advance()
    active = generation.field.active_levels
    half = resolved(preset=preset)
    assert active == sum(start <= 0.5 for start in half.level_starts)
    middle = (half.t.first + half.t.last) / 2
    assert generation.guidance.time(0.5, torch.Generator()) == pytest.approx(middle, abs=1e-3)
