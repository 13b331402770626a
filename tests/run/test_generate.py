"""The loop on the closed-form model of a ball: what comes out is known."""

import dataclasses

import pytest
import torch
from exact_prior import ExactPrior, ball_images

from sdi_engine.config.ramp import Ramp
from sdi_engine.config.settings import PRESETS, constant
from sdi_engine.contract.request import NOISES
from sdi_engine.errors import BadInputError, NoObjectError
from sdi_engine.mesh.surface import extract_surface
from sdi_engine.radiance.cameras import sample
from sdi_engine.run import generate
from sdi_engine.run.generate import Generation, attempt_of

RESOLUTION = 24


def settings(**changes):
    options = {
        "steps": 60,
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
    generation = Generation(prior, "ball", "", settings(noise=noise), seed=0)
    _run(generation)
    # the images show a ball of 0.6 half frames, and half a frame is 0.775 on average
    mesh = extract_surface(generation.field, generation.occupancy, 48, 10_000)
    low, high = mesh.bounds
    assert low == pytest.approx([-0.46] * 3, abs=0.06)
    assert high == pytest.approx([0.46] * 3, abs=0.06)
    (view,) = generation.view([0.0], 0.0, 32)
    assert view[:, 16, 16].tolist() == pytest.approx([0.9, 0.1, 0.1], abs=0.12)
    assert view[:, 0, 0].tolist() == pytest.approx([0.9, 0.9, 0.9], abs=0.05), "there is fog in the corner"


def test_interval_score_matching_makes_a_ball_where_the_prompt_says_more_than_nothing_does():
    """Its gradient is the difference of two predictions, and vanishes where guidance has nothing to add."""
    balls = ball_images(RESOLUTION)
    prior = ExactPrior({"red": balls, "blue": balls.flip(1)})
    generation = Generation(prior, "red ball", "", settings(noise="interval", guidance_scale=3.0), seed=0)
    _run(generation)
    (view,) = generation.view([0.0], 0.0, 32)
    assert view[0, 16, 16] > 0.8
    assert view[2, 16, 16] < 0.2
    assert view[:, 0, 0].tolist() == pytest.approx([0.9, 0.9, 0.9], abs=0.05), "there is fog in the corner"


def test_guidance_does_not_exaggerate_the_colour_of_the_object():
    """A dark ball among lighter ones: in every step guidance wants it darker than it is in any image."""
    dark = ball_images(RESOLUTION, colour=(0.4, 0.4, 0.4))
    light = ball_images(RESOLUTION, colour=(0.6, 0.6, 0.6))
    prior = ExactPrior({"dark": dark, "light": light})
    found = {}
    for fit_object in (True, False):
        guided = settings(noise="random", guidance_scale=4.0, t=Ramp(0.98, 0.95), fit_object=fit_object)
        generation = Generation(prior, "dark ball", "", guided, seed=0)
        _run(generation)
        found[fit_object] = generation.view([0.0], 0.0, 32)[0, :, 16, 16]
    assert found[True].tolist() == pytest.approx([0.4] * 3, abs=0.08)
    assert found[False].max() < 0.3


@pytest.mark.parametrize("perp_neg", ["off", "prediction", "everywhere"])
def test_perp_neg_costs_four_evaluations_where_it_is_on(perp_neg):
    views = {view: ball_images(RESOLUTION) for view in ("front view", "side view", "back view")}
    prior = ExactPrior(views)
    guided = settings(
        steps=1,
        guidance_scale=3.0,
        inversion_guidance_scale=-3.0,
        inversion_steps_per_unit=10,
        perp_neg=perp_neg,
    )
    generation = Generation(prior, "ball", "", guided, seed=0)
    generation.advance()
    inversion = {"off": 2, "prediction": 2, "everywhere": 4}[perp_neg] * 9  # int(10 · 0.98) steps
    prediction = {"off": 2, "prediction": 4, "everywhere": 4}[perp_neg]
    assert prior.evaluations == 2 * (inversion + prediction)


def test_a_time_that_is_not_annealed_is_drawn_anew_in_every_step(prior):
    generation = Generation(prior, "ball", "", settings(anneal=False), seed=0)
    random = torch.Generator().manual_seed(0)
    times = [generation.guidance.time(0.5, random) for _ in range(200)]
    assert min(times) < 0.15
    assert max(times) > 0.9
    assert min(times) >= 0.05
    assert max(times) <= 0.98


def test_the_same_seed_gives_the_same_field_and_another_seed_another(prior):
    def field(seed):
        generation = Generation(prior, "ball", "", settings(steps=3), seed)
        _run(generation)
        return generation.field.grids[0].detach()

    first = field(1)
    assert torch.equal(first, field(1))
    assert not torch.equal(first, field(2))


def test_patches_give_the_gradients_of_the_whole(prior, monkeypatch):
    """Deferred back-propagation is exact: the memory changes, the numbers do not."""

    def gradients(rays_per_patch):
        monkeypatch.setitem(generate.MAX_SAMPLES_PER_PATCH, "cpu", rays_per_patch * 32)
        generation = Generation(prior, "ball", "", settings(), seed=0)
        cameras = sample(generation.settings.cameras, 2, torch.Generator().manual_seed(0))
        patches = generation._patches(cameras, torch.Generator().manual_seed(1), None)
        images = patches.render().map(lambda tensor: tensor.detach().requires_grad_())
        (images.rgb.square().sum() + images.opacity.sum() + images.depth_variance.sum()).backward()
        patches.backward(images)
        return images.rgb.detach(), [parameter.grad for parameter in generation.field.parameters()]

    whole_rgb, whole = gradients(10**6)
    # each patch draws its own offsets, one after the other, so the split must not change what is drawn
    patched_rgb, patched = gradients(RESOLUTION * RESOLUTION)
    torch.testing.assert_close(patched_rgb, whole_rgb)
    for one, other in zip(whole, patched, strict=True):
        if one is None:  # a level that does not take part yet
            assert other is None
        else:
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        (float("nan"), "broke down at step"),
        (-1e3, "has become empty by step"),
        (1e3, "full of fog at step"),
    ],
)
def test_a_volume_without_numbers_or_matter_or_without_room_ends_the_run_early(prior, bias, words):
    generation = Generation(prior, "ball", "", settings(), seed=0)
    for _ in range(20):
        generation.advance()
    with torch.no_grad():
        generation.field.output.bias.fill_(bias)
    with pytest.raises(NoObjectError, match=words):
        _run(generation)


def test_another_attempt_draws_other_numbers_and_starts_with_a_stronger_ball(prior):
    first, second = (Generation(prior, "ball", "", settings(), seed=0, attempt=attempt) for attempt in (0, 1))
    assert not torch.equal(first.field.grids[0], second.field.grids[0])
    assert second.field.config.blob_density > first.field.config.blob_density
    centre = torch.zeros(1, 3)
    assert second.field.density(centre) > first.field.density(centre)


def test_a_checkpoint_knows_its_attempt(prior, tmp_path):
    generation = Generation(prior, "ball", "", settings(), seed=0, attempt=2)
    generation.advance()
    generation.save(tmp_path / "state.safetensors")
    assert attempt_of(tmp_path / "state.safetensors") == 2
    with pytest.raises(BadInputError, match="damaged or of another version"):
        Generation(prior, "ball", "", settings(), seed=0).load(tmp_path / "state.safetensors")


@pytest.mark.parametrize("preset", ["paper", "threestudio"])
def test_the_papers_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(prior, preset, tmp_path):
    """Hash grids, the environment map with its own learning rate, shading, and all regularisers."""
    field = dataclasses.replace(PRESETS[preset].field, log2_table_size=12)
    changes = {
        "steps": 6,
        "resolution": RESOLUTION,
        "samples_per_ray": 48,
        "field": field,
        "shading_start": 0.0,
        "lit": 0.7,
    }
    paper = dataclasses.replace(
        PRESETS[preset], guidance_scale=3.0, inversion_guidance_scale=-3.0, perp_neg="off", **changes
    )
    whole = Generation(prior, "ball", "", paper, seed=0)
    _run(whole)
    first = Generation(prior, "ball", "", paper, seed=0)
    for _ in range(3):
        first.advance()
    first.save(tmp_path / "state.safetensors")
    second = Generation(prior, "ball", "", paper, seed=0)
    second.load(tmp_path / "state.safetensors")
    _run(second)
    start = Generation(prior, "ball", "", paper, seed=0)
    for module in ("field", "environment"):
        for name, tensor in getattr(whole, module).state_dict().items():
            resumed = getattr(second, module).state_dict()[name]
            assert tensor.isfinite().all()
            torch.testing.assert_close(resumed, tensor, atol=1e-6, rtol=1e-5)
    moved = whole.environment.state_dict()["network.0.weight"] - start.environment.state_dict()["network.0.weight"]
    assert 0.0 < moved.abs().max() < 6 * 2e-3, "the environment map learns at its own rate"


@pytest.mark.parametrize("penalty", ["orientation", "convexity"])
def test_a_penalty_on_normals_moves_the_shape(prior, penalty):
    def density(**changes):
        generation = Generation(prior, "ball", "", settings(steps=2, **changes), seed=0)
        _run(generation)
        return generation.field.output.weight[0].detach()

    strong = density(**{penalty: constant(10.0)})
    assert strong.isfinite().all()
    assert not torch.allclose(strong, density(), atol=1e-5)


def test_levels_and_learning_rate_follow_the_progress(prior):
    generation = Generation(prior, "ball", "", settings(steps=10), seed=0)
    rates, levels = [], []
    while not generation.done:
        generation.advance()
        rates.append(generation.optimizer.param_groups[0]["lr"])
        levels.append(generation.field.active_levels)
    assert levels == [1, 1, 2, 2, 3, 3, 3, 3, 3, 3]
    assert rates[:7] == [pytest.approx(0.02)] * 7
    assert rates[-1] < 0.5 * rates[0]


def test_shading_is_drawn_in_its_shares_and_only_after_its_start(prior):
    generation = Generation(prior, "ball", "", settings(steps=400, textureless=0.3, lit=0.2, shading_start=0.5), seed=0)
    modes = []
    for step in range(400):
        generation.step = step
        shading = generation._shading(step / 400)
        modes.append(shading.mode if shading else "albedo")
    assert set(modes[:200]) == {"albedo"}
    assert modes[200:].count("textureless") == pytest.approx(60, abs=20)
    assert modes[200:].count("lit") == pytest.approx(40, abs=20)


def test_a_shaded_step_moves_the_field(prior):
    generation = Generation(prior, "ball", "", settings(steps=10, textureless=1.0, shading_start=0.0), seed=0)
    before = generation.field.grids[0].detach().clone()
    generation.advance()
    assert (generation.field.grids[0] - before).abs().max() > 0.0
    assert generation.field.grids[0].isfinite().all()


def _run(generation):
    while not generation.done:
        generation.advance()
