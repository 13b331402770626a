"""How long a run still takes, with made-up seconds."""

import dataclasses

import pytest
from exact_prior import ExactPrior, ball_images

from sdi_engine.config.evaluations import evaluations_of
from sdi_engine.config.parameters import NOISES
from sdi_engine.config.ramp import Ramp
from sdi_engine.config.settings import PRESETS
from sdi_engine.run.forecast import WINDOW_STEPS, Forecast, Took, Work
from sdi_engine.run.optimisation import Optimisation

EVALUATION, ENCODE, RENDER, PREVIEW = 2.0, 1.0, 3.0, 0.5


def test_what_is_left_is_known_after_one_step_although_steps_get_cheaper():
    works = [Work(evaluations, effort) for evaluations, effort in ((20, 1.0), (20, 4.0), (10, 1.0), (2, 4.0))]
    seconds = [work.evaluations * EVALUATION + ENCODE + work.effort * RENDER for work in works]
    forecast = Forecast(works)
    assert forecast.left(0) is None
    assert forecast.rate(0) is None
    forecast.step_took(0, 20, Took(20 * EVALUATION, ENCODE, RENDER))
    assert forecast.left(1) == pytest.approx(sum(seconds[1:]))
    assert forecast.left(1, within=0.25) == pytest.approx(sum(seconds[1:]) - 0.25 * seconds[1])
    assert forecast.rate(1) == pytest.approx(1.0 / seconds[1])
    forecast.between_took(PREVIEW)
    assert forecast.left(1) == pytest.approx(sum(seconds[1:]) + 3 * PREVIEW)
    assert forecast.left(4) == 0.0
    assert forecast.rate(4) == pytest.approx(1.0 / (seconds[3] + PREVIEW)), "that of the last step"


def test_rates_are_those_of_the_last_steps_and_what_is_between_them_over_all():
    forecast = Forecast([Work(10.0, 1.0), Work(10.0, 3.0)] * WINDOW_STEPS)
    for step in range(WINDOW_STEPS):  # forgotten by the end
        forecast.step_took(step, 1, Took(100.0, 100.0, 100.0))
        forecast.between_took(1.0)
    for step in range(WINDOW_STEPS, 2 * WINDOW_STEPS, 2):
        forecast.step_took(step, 10, Took(10 * EVALUATION, 0.5 * ENCODE, RENDER))
        forecast.step_took(step + 1, 30, Took(30 * EVALUATION, 1.5 * ENCODE, 3.0 * RENDER))
    assert dataclasses.astuple(forecast.rates) == pytest.approx((EVALUATION, ENCODE, RENDER, 0.5))


@pytest.mark.parametrize("once", [0, 5])
def test_what_happens_once_is_not_expected_of_every_step(once):
    """The first step compiles kernels, and at one step the field becomes a mesh."""
    forecast = Forecast([Work(10.0, 1.0)] * 100)
    for step in range(8):
        more = 60.0 if step == once else 0.0
        forecast.step_took(step, 10, Took(10 * EVALUATION + more, ENCODE + more, RENDER + more))
    assert forecast.left(8) == pytest.approx(92 * (10 * EVALUATION + ENCODE + RENDER))


def test_what_is_left_of_the_last_step_is_never_less_than_nothing():
    """In floating point a sum in another order may be less: no reader takes a negative time."""
    forecast = Forecast([Work(4.0, 2.0)])
    forecast.step_took(0, 4, Took(4 * 0.2, 0.7, 2 * 0.3))
    forecast.between_took(0.1)
    assert forecast.left(0, within=1.0) == 0.0


@pytest.mark.parametrize(("seconds", "mean"), [([0, 0, 1, 2, 9, 99, 99], 4.0), ([0, 1, 2, 2, 7, 9], 3.0), ([3], 3.0)])
def test_what_a_step_takes_is_the_mean_of_the_middle_half(seconds, mean):
    forecast = Forecast([Work(1.0, 1.0)] * len(seconds))
    for step, each in enumerate(seconds):
        forecast.step_took(step, 1, Took(1.0, float(each), 1.0))
    assert forecast.rates.images == mean


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("perp_neg", ["off", "prediction", "everywhere"])
def test_evaluations_are_known_from_the_schedule(noise, perp_neg):
    """As many as a run makes, whichever κ it looks for."""
    changes = {"noise": noise, "perp_neg": perp_neg, "inversion_steps_per_unit": 7, "noise_rounds": 2}
    _check({"guidance_scale": 3.0, "inversion_guidance_scale": -3.0} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance_scale": 1.0, "inversion_guidance_scale": 1.0},
        {"guidance_scale": 3.0, "inversion_guidance_scale": 0.0},
        {"inversion_guidance": Ramp(0.0, 1.0, start=0.5, end=0.5)},
        {"inversion_depth": Ramp(2.0, 0.5)},
        {"inversion_share": Ramp(0.0, 1.0, start=0.5, end=0.5)},
        {"target_steps": Ramp(1.0, 3.0)},
        {"guidance_share": Ramp(0.0, 1.0, start=0.5, end=0.5)},
        {"guidance_share": Ramp(0.0, 1.0), "noise": "sgd", "noise_rounds": 2},
        {"released_code": True, "inversion_steps_per_unit": 10},
        {"views_per_step": 1},
    ],
    ids=str,
)
def test_evaluations_are_known_where_the_inversion_is_another(changes):
    _check({"noise": "inversion", "guidance_scale": 3.0, "inversion_guidance_scale": -3.0} | changes)


def _check(changes):
    options = {"steps": 3, "resolution": 8, "samples_per_ray": 4, "t": Ramp(0.93, 0.13)} | changes
    settings = dataclasses.replace(PRESETS["draft"], **options)
    prior = ExactPrior({view: ball_images(8) for view in ("front view", "side view", "back view")})
    run = Optimisation(prior, "ball", "", settings, seed=0)
    made = [run.advance().evaluations for _ in range(3)]
    assert made == [evaluations_of(settings, step / 3) for step in range(3)]
