"""The optimisation with a closed-form model of a ball, whose result is known."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from exact_prior import ExactPrior, ball_images
from tiny_models import write_stable_diffusion

from sdi_engine.config.parameters import NOISES
from sdi_engine.config.ramp import Ramp
from sdi_engine.config.settings import PRESETS, constant
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.distillation.target import distillation_target, noise_residual
from sdi_engine.errors import NoObjectError
from sdi_engine.radiance.isosurface import extract_surface
from sdi_engine.run.optimisation import Optimisation

RESOLUTION = 16


def settings(**changes):
    options = {
        "steps": 50,
        "resolution": RESOLUTION,
        "guidance_scale": 1.0,
        "inversion_guidance_scale": -1.0,
        "samples_per_ray": 32,
    }
    return dataclasses.replace(PRESETS["draft"], **(options | changes))


@pytest.fixture
def prior():
    return ExactPrior({"ball": ball_images(RESOLUTION)})


@pytest.mark.parametrize("noise", [noise for noise in NOISES if noise != "interval"])
def test_a_model_that_knows_a_ball_makes_a_red_ball(prior, noise):
    run = Optimisation(prior, "ball", "", settings(noise=noise), seed=0)
    _run(run)
    # the images show a ball of 0.6 half frames, and half a frame is 0.775 on average
    mesh = extract_surface(run.representation.field, run.representation.occupancy, 48, 10_000)
    low, high = mesh.bounds
    assert low == pytest.approx([-0.46] * 3, abs=0.06)
    assert high == pytest.approx([0.46] * 3, abs=0.06)
    (view,) = run.view([0.0], 0.0, 32)
    assert view[:, 16, 16].tolist() == pytest.approx([0.9, 0.1, 0.1], abs=0.12)
    assert view[:, 0, 0].tolist() == pytest.approx([0.9, 0.9, 0.9], abs=0.05), "there is fog in the corner"


def test_interval_score_matching_makes_a_ball_where_the_prompt_says_more_than_nothing_does():
    """Its gradient is the difference of two predictions, and vanishes if the prompt changes nothing."""
    balls = ball_images(RESOLUTION)
    prior = ExactPrior({"red": balls, "blue": balls.flip(1)})
    run = Optimisation(prior, "red ball", "", settings(noise="interval", guidance_scale=3.0), seed=0)
    _run(run)
    (view,) = run.view([0.0], 0.0, 32)
    assert view[0, 16, 16] > 0.8
    assert view[2, 16, 16] < 0.2
    assert view[:, 0, 0].tolist() == pytest.approx([0.9, 0.9, 0.9], abs=0.05), "there is fog in the corner"


def test_guidance_does_not_exaggerate_the_colour_of_the_object():
    """A dark ball among lighter ones: in every step guidance makes it darker than it is in any image."""
    dark = ball_images(RESOLUTION, colour=(0.4, 0.4, 0.4))
    light = ball_images(RESOLUTION, colour=(0.6, 0.6, 0.6))
    prior = ExactPrior({"dark": dark, "light": light})
    found = {}
    for fit_object in (True, False):
        guided = settings(noise="random", guidance_scale=4.0, t=Ramp(0.98, 0.95), fit_object=fit_object)
        run = Optimisation(prior, "dark ball", "", guided, seed=0)
        _run(run)
        found[fit_object] = run.view([0.0], 0.0, 32)[0, :, 16, 16]
    assert found[True].tolist() == pytest.approx([0.4] * 3, abs=0.08)
    assert found[False].max() < 0.3


class PixelPrior(ExactPrior):
    """One that says of itself that it draws pixels."""

    largest_x0 = 1.0


def test_guidance_beyond_white_makes_nothing_darker():
    """Guidance wants a white cap whiter. What it adds there that nobody can see is not taken off the rest of the ball,
    as it is with a model of which nobody knows what its images can hold."""

    def capped(grey):
        balls = ball_images(RESOLUTION, colour=(0.4, 0.4, 0.4))
        caps = ball_images(RESOLUTION, colour=(grey, grey, grey))
        return torch.cat([caps[..., : RESOLUTION // 2, :], balls[..., RESOLUTION // 2 :, :]], dim=-2)

    found = {}
    for kind in (PixelPrior, ExactPrior):
        prior = kind({"white": capped(1.0), "grey": capped(0.7)})
        guided = settings(noise="random", guidance_scale=4.0, t=Ramp(0.98, 0.95))
        run = Optimisation(prior, "white ball", "", guided, seed=0)
        _run(run)
        found[kind] = run.view([0.0], 0.0, 32)[0, :, 22, 16]
    assert found[PixelPrior].tolist() == pytest.approx([0.4] * 3, abs=0.08)
    assert found[ExactPrior].max() < 0.3


@pytest.mark.parametrize("perp_neg", ["off", "prediction", "everywhere"])
def test_perp_neg_costs_four_evaluations_where_it_is_on(perp_neg):
    views = {view: ball_images(RESOLUTION) for view in ("front view", "side view", "back view")}
    prior = ExactPrior(views)
    guided = settings(
        steps=1,
        noise="inversion",
        guidance_scale=3.0,
        inversion_guidance_scale=-3.0,
        inversion_steps_per_unit=10,
        perp_neg=perp_neg,
    )
    run = Optimisation(prior, "ball", "", guided, seed=0)
    run.advance()
    inversion = {"off": 2, "prediction": 2, "everywhere": 4}[perp_neg] * 9  # int(10 · 0.98) steps
    prediction = {"off": 2, "prediction": 4, "everywhere": 4}[perp_neg]
    assert prior.evaluations == 2 * (inversion + prediction)


@pytest.mark.parametrize(
    ("changes", "inversion", "prediction"),
    [
        ({}, 2 * (9 + 7 + 5 + 3), 2 * 4),
        ({"inversion_share": Ramp(0.0, 1.0, start=0.6, end=0.6)}, 2 * (9 + 7), 2 * 4),
        ({"inversion_share": constant(0.0)}, 0, 2 * 4),
        ({"inversion_depth": Ramp(0.0, 1.0, start=0.6, end=0.6)}, 2 * (9 + 7 + 1 + 1), 2 * 4),
        ({"inversion_guidance": constant(0.0)}, 9 + 7 + 5 + 3, 2 * 4),
        ({"target_steps": Ramp(3.0, 1.0, start=0.6, end=0.6)}, 2 * (9 + 7 + 5 + 3), 2 * (1 + 1 + 3 + 3)),
        ({"guidance_share": Ramp(0.0, 1.0, start=0.6, end=0.6)}, 2 * (9 + 7 + 5 + 3), 2 * 2 + 1 * 2),
    ],
)
def test_what_is_cheaper_or_dearer_at_some_times_costs_that(prior, changes, inversion, prediction):
    """At t of 0.91, 0.71, 0.51 and 0.31, and with guidance, which costs twice."""
    guided = {"guidance_scale": 3.0, "inversion_guidance_scale": -3.0, "inversion_steps_per_unit": 10}
    guided |= {"noise": "inversion"}
    run = Optimisation(prior, "ball", "", settings(steps=4, t=Ramp(0.91, 0.11), **guided, **changes), seed=0)
    _run(run)
    assert prior.evaluations == 2 * (inversion + prediction)


def test_a_loss_in_pixels_makes_the_ball_without_a_gradient_through_the_encoder(prior):
    encode = prior.encode

    def without_gradient(images):
        assert not images.requires_grad
        return encode(images)

    prior.encode = without_gradient
    run = Optimisation(prior, "ball", "", settings(loss="pixels"), seed=0)
    _run(run)
    (view,) = run.view([0.0], 0.0, 32)
    assert view[:, 16, 16].tolist() == pytest.approx([0.9, 0.1, 0.1], abs=0.12)
    assert view[:, 0, 0].tolist() == pytest.approx([0.9, 0.9, 0.9], abs=0.05), "there is fog in the corner"


def test_a_loss_in_pixels_of_a_model_with_a_vae(tmp_path):
    """Also where an image is no whole number of latents wide."""
    prior = load_prior(str(write_stable_diffusion(tmp_path / "model")), torch.device("cpu"))
    run = Optimisation(prior, "a red mug", "", settings(loss="pixels", steps=1, resolution=19), seed=0)
    before = run.representation.field.grids[0].detach().clone()
    assert run.advance().loss > 0.0
    assert not torch.equal(run.representation.field.grids[0], before)


def test_a_time_that_is_not_annealed_is_drawn_anew_in_every_step(prior):
    run = Optimisation(prior, "ball", "", settings(anneal=False), seed=0)
    random = torch.Generator().manual_seed(0)
    times = [run.guidance.time(0.5, random) for _ in range(200)]
    assert min(times) < 0.15
    assert max(times) > 0.9
    assert min(times) >= 0.05
    assert max(times) <= 0.98


def test_the_same_seed_gives_the_same_field_and_another_seed_another(prior):
    def field(seed):
        run = Optimisation(prior, "ball", "", settings(steps=3), seed)
        _run(run)
        return run.representation.field.grids[0].detach()

    first = field(1)
    assert torch.equal(first, field(1))
    assert not torch.equal(first, field(2))


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        (float("nan"), "broke down at step"),
        (-1e3, "has become empty by step"),
        (1e3, "full of fog at step"),
    ],
)
def test_a_nan_empty_or_foggy_volume_ends_the_run_early(prior, bias, words):
    run = Optimisation(prior, "ball", "", settings(), seed=0)
    for _ in range(20):
        run.advance()
    with torch.no_grad():
        run.representation.field.output.bias.fill_(bias)
    with pytest.raises(NoObjectError, match=words):
        _run(run)


def test_another_attempt_draws_other_numbers_and_starts_with_a_stronger_ball(prior):
    first, second = (Optimisation(prior, "ball", "", settings(), seed=0, attempt=attempt) for attempt in (0, 1))
    assert not torch.equal(first.representation.field.grids[0], second.representation.field.grids[0])
    centre = torch.zeros(1, 3)
    assert second.representation.field.density(centre) > first.representation.field.density(centre)


@pytest.mark.parametrize("penalty", ["orientation", "convexity"])
def test_a_penalty_on_normals_moves_the_shape(prior, penalty):
    def density(**changes):
        run = Optimisation(prior, "ball", "", settings(steps=2, **changes), seed=0)
        _run(run)
        return run.representation.field.output.weight[0].detach()

    strong = density(**{penalty: constant(10.0)})
    assert strong.isfinite().all()
    assert not torch.allclose(strong, density(), atol=1e-5)


def test_levels_and_learning_rate_follow_the_progress(prior):
    run = Optimisation(prior, "ball", "", settings(steps=10), seed=0)
    rates, levels = [], []
    while not run.done:
        run.advance()
        rates.append(run.optimizer.param_groups[0]["lr"])
        levels.append(run.representation.field.active_levels)
    assert levels == [1, 1, 2, 2, 3, 3, 3, 3, 3, 3]
    assert rates[:7] == [pytest.approx(0.02)] * 7
    assert rates[-1] < 0.5 * rates[0]


def test_a_shaded_step_moves_the_field(prior):
    run = Optimisation(prior, "ball", "", settings(steps=10, textureless=1.0, shading_start=0.0), seed=0)
    before = run.representation.field.grids[0].detach().clone()
    run.advance()
    assert (run.representation.field.grids[0] - before).abs().max() > 0.0
    assert run.representation.field.grids[0].isfinite().all()


@pytest.mark.parametrize("noise", ["random", "inversion"])
def test_a_run_knows_how_far_its_noise_was_from_the_fixed_point(prior, noise, monkeypatch):
    """What it writes down for nothing is the residual of eq. (8), as a model asked once more would say."""
    run = Optimisation(prior, "ball", "", settings(noise=noise), seed=0)
    asked = {}

    def remembered(prior, x0, t, kappa, conditioning, guidance, image=None, steps=1):
        asked.update(x0=x0, t=t, kappa=kappa, conditioning=conditioning, guidance=guidance)
        return distillation_target(prior, x0, t, kappa, conditioning, guidance, image, steps)

    monkeypatch.setattr("sdi_engine.run.guidance.distillation_target", remembered)
    for step in range(2):
        run.advance()
        t, residual = run.residuals[step]
        assert t == pytest.approx(asked["t"][0].item())
        assert residual == pytest.approx(noise_residual(prior, **asked).mean().item(), rel=1e-3)
    assert len(run.residuals) == 2


def test_the_way_to_a_target_of_several_steps_is_no_residual(prior):
    run = Optimisation(prior, "ball", "", settings(target_steps=Ramp(1.0, 2.0, 0.5, 0.5), steps=4), seed=0)
    _run(run)
    assert run.residuals
    assert len(run.residuals) < 4
    assert all(run.guidance.target_steps(t) == 1 for t, _ in run.residuals)


def _run(run):
    while not run.done:
        run.advance()


def test_renders_of_fewer_pixels_are_enlarged_for_the_model():
    """And the ball comes out as where all pixels are rendered."""
    prior = ExactPrior({"ball": ball_images(24)})
    fewer = settings(noise="random", resolution=24, render_share=Ramp(0.5, 1.0, end=0.5))
    run = Optimisation(prior, "ball", "", fewer, seed=0)
    sizes, encoded = [], []
    render, encode = run.representation.render, prior.encode
    run.representation.render = lambda *asked: sizes.append(asked[1]) or render(*asked)
    prior.encode = lambda images: encoded.append(images.shape[-1]) or encode(images)
    _run(run)
    assert sizes[0] == 16  # in whole eights
    assert sizes[-1] == 24
    assert set(encoded) == {24}
    (view,) = run.view([0.0], 0.0, 32)
    assert view[:, 16, 16].tolist() == pytest.approx([0.9, 0.1, 0.1], abs=0.12)
    assert view[:, 0, 0].tolist() == pytest.approx([0.9, 0.9, 0.9], abs=0.05), "there is fog in the corner"


@pytest.mark.parametrize("loss", ["latents", "pixels"])
def test_several_fits_take_the_same_images_nearer_to_one_target_and_ask_the_model_once(prior, loss):
    reached, evaluations = [], []
    for fits in (1, 3):
        run = Optimisation(prior, "ball", "", settings(noise="random", fits=fits, loss=loss), seed=0)
        asked, seen, target = [], [], []
        render, find = run.representation.render, run.guidance.target

        def recorded(cameras, *rest, render=render, asked=asked, seen=seen):
            rendering = render(cameras, *rest)
            asked.append(cameras)
            seen.append(rendering.images.detach())
            return rendering

        def found(*arguments, find=find, target=target):
            target.append(find(*arguments))
            return target[-1]

        run.representation.render, run.guidance.target = recorded, found
        run.advance()
        assert (len(seen), len(target)) == (fits, 1)
        assert all(torch.equal(each.position, asked[0].position) for each in asked)
        evaluations.append(run.prior.evaluations)
        run.step = 0  # the same cameras and backgrounds again
        run.advance()
        reached.append(F.mse_loss(prior.encode(seen[-fits]), target[0].x0).item())
    assert evaluations[0] == evaluations[1]
    assert reached[1] < reached[0]
