import dataclasses

import pytest
import torch
from exact_prior import ExactPrior, StraightPrior

from sdi_engine.config.evaluations import inversion_steps
from sdi_engine.config.parameters import NOISES, NOISES_2D
from sdi_engine.config.ramp import Ramp, constant
from sdi_engine.config.settings import PRESETS
from sdi_engine.distillation.ddim import ddim_invert, ddim_trajectory
from sdi_engine.distillation.noise import (
    CHOICES,
    CHOICES_2D,
    Context,
    fixed_noise,
    fixed_point_noise,
    interval_noise,
    inverted_noise,
    is_inverted,
    optimised_noise,
    standard_normal,
)
from sdi_engine.distillation.target import noise_residual


@pytest.fixture
def prior():
    return ExactPrior({"mug": 0.4 + 0.2 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))})


def context(guidance=1.0, random_seed=0, seed=0, **settings):
    """The context of a run whose inversion is bare except for the given settings."""
    bare = {"inversion_start": 0.0, "inversion_overshoot": 0.0, "inversion_entropy": 0.0}
    return Context(
        guidance,
        guidance,
        dataclasses.replace(PRESETS["paper"], **bare | settings),
        torch.Generator().manual_seed(random_seed),
        seed,
    )


def invert(prior, x0, t, guidance=-1.0, steps=8, **changes):
    conditioning = prior.condition(["a mug"] * len(x0))
    per_unit = steps / t[0].item() + 1e-4
    return inverted_noise(prior, x0, t, conditioning, context(guidance, inversion_steps_per_unit=per_unit, **changes))[
        0
    ]


def normal(x0, seed):
    return standard_normal(x0, torch.Generator().manual_seed(seed))


def test_the_names_are_those_of_requests():
    assert tuple(CHOICES) == NOISES
    assert (*CHOICES, *CHOICES_2D) == NOISES_2D


def test_random_noise_is_standard_normal_and_comes_from_the_generator():
    x0 = torch.zeros(4, 3, 64, 64)
    noise, x = CHOICES["random"](None, x0, None, None, context(random_seed=1))
    assert x is None
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1.0) < 0.02
    assert torch.equal(noise, normal(x0, 1))


def test_denoising_the_render_with_its_inverted_noise_gives_the_render_back(prior):
    """That is what ties all steps to one trajectory; random noise leads somewhere else."""
    x0 = prior._images[:2].view(2, 3, 8, 8)
    t = torch.full((2,), 0.9)
    a, b = prior.scales(t)
    conditioning = prior.condition(["a mug"] * 2)

    def error(kappa):
        back = ddim_invert(prior, a * x0 + b * kappa, t, torch.zeros(2), 100, conditioning, 1.0)
        return (back - x0).square().mean().sqrt().item()

    inverted = error(invert(prior, x0, t, guidance=1.0, steps=100))
    assert inverted < 0.2 * error(normal(x0, 1))


def test_inversion_goes_to_a_time_up_to_the_overshoot_later_than_the_noise_is_added_at(prior):
    def end(time, random_seed):
        """The model is asked in the clean render, and half-way."""
        straight = StraightPrior(torch.ones(1, 3, 8, 8))
        x0, t = torch.zeros(1, 3, 8, 8), torch.tensor([time])
        invert(straight, x0, t, steps=2, guidance=1.0, inversion_overshoot=0.2, random_seed=random_seed)
        clean, half_way = straight.asked
        assert clean == 0.0
        return 2.0 * half_way

    ends = [end(0.5, seed) for seed in range(40)]
    assert ends == [end(0.5, seed) for seed in range(40)]
    assert 0.5 <= min(ends) < 0.53
    assert 0.67 < max(ends) <= 0.7
    assert end(1.0, 0) == 1.0, "there is no later"


def test_inversion_may_start_with_fresh_noise_and_finds_the_models_from_there():
    """x̄ = x0 + σ_start·noise + (σ − σ_start)·ε, for a model that sees ε everywhere."""
    x0, fresh, seen = (normal(torch.zeros(2, 3, 8, 8), seed) for seed in range(3))
    prior, t, start = StraightPrior(seen[:1]), torch.full((2,), 0.4), 0.05
    (a, b), (a_start, b_start) = prior.scales(t), prior.scales(torch.full((2,), start))
    share = (b_start / a_start) / (b / a)
    kappa = invert(prior, x0, t, guidance=1.0, inversion_start=start, random_seed=1)
    torch.testing.assert_close(kappa, share * fresh + (1.0 - share) * seen[:1], atol=1e-4, rtol=1e-4)


def test_inversion_starts_no_later_than_half_way(prior):
    x0, t = prior._images[:1].view(1, 3, 8, 8), torch.tensor([0.4])
    late, half_way, early = (invert(prior, x0, t, inversion_start=start) for start in (0.3, 0.2, 0.1))
    assert torch.equal(late, half_way)
    assert not torch.equal(half_way, early)


def test_inversion_costs_its_steps_and_the_guidance(prior):
    x0, t = prior._images[:1].view(1, 3, 8, 8), torch.tensor([0.5])
    for guidance, evaluations in ((-7.5, 14), (0.0, 7), (1.0, 7)):
        prior.evaluations = 0
        invert(prior, x0, t, guidance=guidance, steps=7)
        assert prior.evaluations == evaluations


def test_entropy_adds_variance_that_shrinks_with_t(prior):
    x0 = prior._images[:1].view(1, 3, 8, 8)
    for time in (0.2, 0.9):
        t = torch.tensor([time])
        _, b = prior.scales(t)
        draws = [invert(prior, x0, t, inversion_entropy=0.3, random_seed=seed) for seed in range(40)]
        spread = torch.stack(draws).std(dim=0).mean().item()
        assert spread == pytest.approx(0.3 * b.item(), rel=0.1)


@pytest.mark.parametrize(("t", "steps"), [(0.98, 9), (0.5, 5), (0.19, 1), (0.01, 1)])
def test_number_of_inversion_steps(t, steps):
    assert inversion_steps(t, PRESETS["paper"]) == steps


def test_inversion_may_be_deeper_at_some_times_than_at_others():
    settings = dataclasses.replace(PRESETS["paper"], inversion_depth=Ramp(0.0, 2.0, start=0.2, end=0.6))
    assert [inversion_steps(t, settings) for t in (0.1, 0.4, 0.6, 0.9)] == [1, 4, 12, 18]


def test_how_often_noise_is_inverted_is_drawn_where_it_is_neither_always_nor_never():
    def inverted(share, t):
        settings = dataclasses.replace(PRESETS["paper"], inversion_share=share)
        return [is_inverted(t, settings, random) for _ in range(2000)]

    random = torch.Generator().manual_seed(0)
    assert all(inverted(constant(1.0), 0.5))
    assert not any(inverted(constant(0.0), 0.5))
    assert all(inverted(Ramp(0.0, 1.0, start=0.3, end=0.3), 0.31))
    assert not any(inverted(Ramp(0.0, 1.0, start=0.3, end=0.3), 0.29))
    assert torch.equal(random.get_state(), torch.Generator().manual_seed(0).get_state()), "it has drawn numbers"
    for share in (0.05, 0.25):
        drawn = inverted(constant(share), 0.5)
        assert sum(drawn) / 2000 == pytest.approx(share, abs=0.04)
    random.manual_seed(0)
    inverted(constant(0.05), 0.5)
    assert inverted(constant(0.25), 0.5) == drawn, "a run is another than it was"


def test_fixed_noise_is_one_standard_normal_draw_for_all_images_and_steps():
    def drawn(x0, seed):
        return fixed_noise(None, x0, None, None, context(seed=seed)).kappa

    noise = drawn(torch.zeros(3, 3, 64, 64), seed=4)
    assert torch.equal(noise[0], noise[2])
    assert torch.equal(noise, drawn(torch.ones(3, 3, 64, 64), seed=4))
    assert not torch.equal(noise, drawn(torch.zeros(3, 3, 64, 64), seed=5))
    assert noise.std().item() == pytest.approx(1.0, abs=0.02)


def residual(prior, x0, t, kappa, guidance=1.0):
    return noise_residual(prior, x0, t, kappa, prior.condition(["a mug"] * len(x0)), guidance)


def test_residual_is_zero_for_the_models_own_noise_and_is_rescaled_to_x0(prior):
    """At low noise around one of its images the model's noise is the noise that was added."""
    x0, t = prior._images[:1].view(1, 3, 8, 8), torch.tensor([0.05])
    kappa = normal(x0, 0)
    assert residual(prior, x0, t, kappa).item() < 1e-3
    far = residual(prior, x0 + 0.5, t, kappa)
    assert far.item() == pytest.approx(0.5, rel=0.05), "the way from the render to the image that the model sees"


def test_one_round_of_fixed_point_iteration_is_equation_8(prior):
    x0, t = prior._images[:2].view(2, 3, 8, 8) + 0.2, torch.full((2,), 0.6)
    conditioning = prior.condition(["a mug"] * 2)
    kappa, _ = fixed_point_noise(prior, x0, t, conditioning, context(2.0, noise_rounds=1))
    a, b = prior.scales(t)
    start = normal(x0, 0)
    expected = prior.predict(a * x0 + b * start, t, conditioning, 2.0).noise
    torch.testing.assert_close(kappa, expected)


def test_gradient_descent_lowers_the_residual_of_equation_8(prior):
    x0, t = prior._images[:1].view(1, 3, 8, 8) + 0.1, torch.tensor([0.6])
    conditioning = prior.condition(["a mug"])

    def after(rounds):
        kappa, _ = optimised_noise(prior, x0, t, conditioning, context(noise_rounds=rounds, noise_learning_rate=0.1))
        return residual(prior, x0, t, kappa).item()

    errors = [after(rounds) for rounds in (0, 3, 10)]
    assert errors[0] > errors[1] > errors[2]


def test_one_step_of_gradient_descent_is_the_gradient_by_differences(prior):
    prior = ExactPrior({"mug": prior._images.view(4, 3, 8, 8).double() * 0.5 + 0.5})
    x0, t = (prior._images[:1].view(1, 3, 8, 8) + 0.1).double(), torch.tensor([0.6], dtype=torch.float64)
    conditioning = prior.condition(["a mug"])
    a, b = prior.scales(t)

    def objective(kappa):
        return 0.5 * (kappa - prior.predict(a * x0 + b * kappa, t, conditioning, 1.0).noise).square().sum()

    start = normal(x0, 0)
    stepped, _ = optimised_noise(prior, x0, t, conditioning, context(noise_rounds=1, noise_learning_rate=0.1))
    direction = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slope = (objective(start + 1e-5 * direction) - objective(start - 1e-5 * direction)) / 2e-5
    assert ((start - stepped) / 0.1 * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4)


@pytest.mark.parametrize(("t", "s", "steps"), [(0.6, 0.5, 5), (0.05, 0.0, 1)])
def test_interval_noise_is_the_prediction_one_interval_before_and_x_lies_on_its_trajectory(t, s, steps):
    """Both without guidance, whatever the prompt says."""
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    prior = ExactPrior({"mug": images[:2], "car": images[2:]})
    x0, t, s = images[:2] * 0.2, torch.full((2,), t), torch.full((2,), s)
    conditioning = prior.condition(["a mug"] * 2)
    kappa, image = interval_noise(prior, x0, t, conditioning, context(inversion_steps_per_unit=9, interval=0.1))
    at_s = ddim_invert(prior, x0, torch.zeros(2), s, steps, conditioning, 0.0)
    torch.testing.assert_close(kappa, prior.predict(at_s, s, conditioning, 0.0).noise)
    (a, b), (a_t, b_t) = prior.scales(s), prior.scales(t)
    x = a_t * image + b_t * kappa
    torch.testing.assert_close(x / a_t, at_s / a + (b_t / a_t - b / a) * kappa, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("index", [10, 20])
def test_along_a_ddim_trajectory_the_previous_prediction_solves_equation_8_and_noise_does_not(prior, index):
    """The finer the steps, the smaller the residual, which is the change of the prediction in one step."""
    conditioning = prior.condition(["a mug"] * 2)
    start = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    errors = []
    for finer in (1, 4):
        times = torch.linspace(0.98, 0.02, 40 * finer + 1)
        before = list(ddim_trajectory(prior, start, times, conditioning, 1.0))[index * finer - 1]
        t = times[index * finer].expand(2)
        errors.append(residual(prior, before.x0, t, before.noise).mean().item())
    by_chance = residual(prior, before.x0, t, normal(start, 1)).mean().item()
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.1 * by_chance
