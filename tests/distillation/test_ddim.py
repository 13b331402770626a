"""Against the closed-form denoiser, whose DDIM trajectories are known to end on its images."""

import itertools

import pytest
import torch
from exact_prior import ExactPrior

from sdi_engine.distillation.ddim import ddim_invert, ddim_sample, ddim_step, one_step_x0


@pytest.fixture
def prior():
    random = torch.Generator().manual_seed(3)
    return ExactPrior(
        {"mug": torch.rand(3, 3, 8, 8, generator=random), "car": torch.rand(3, 3, 8, 8, generator=random)}
    )


def noise_like(prior, count=4):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def test_samples_are_images_of_the_prompt(prior):
    conditioning = prior.condition(["a mug"] * 4)
    sampled = prior.decode(ddim_sample(prior, noise_like(prior), torch.linspace(1.0, 0.02, 60), conditioning, 1.0))
    mugs = (prior._images[:3] * 0.5 + 0.5).view(3, 3, 8, 8)
    nearest = (sampled[:, None] - mugs).flatten(2).abs().amax(-1).amin(1)
    assert nearest.max() < 1e-3


def test_step_forth_and_back_is_the_identity(prior):
    x, noise = noise_like(prior), noise_like(prior) * 0.3
    t, t_next = torch.full((4,), 0.4), torch.full((4,), 0.7)
    there = ddim_step(prior, x, t, t_next, noise)
    torch.testing.assert_close(ddim_step(prior, there, t_next, t, noise), x, atol=1e-5, rtol=1e-5)


def test_step_is_equation_2(prior):
    """x̄(t') = x̄(t) + ε·[σ(t') − σ(t)]."""
    x, noise = noise_like(prior), noise_like(prior) * 0.3
    t, t_next = torch.full((4,), 0.7), torch.full((4,), 0.5)
    (a, b), (a_next, b_next) = prior.scales(t), prior.scales(t_next)
    expected = x / a + noise * (b_next / a_next - b / a)
    torch.testing.assert_close(ddim_step(prior, x, t, t_next, noise) / a_next, expected, atol=1e-5, rtol=1e-5)


def test_inversion_then_sampling_returns_with_an_error_that_falls_with_the_steps():
    # images near each other, so that the score is smooth where the trajectory runs
    prior = ExactPrior({"mug": 0.45 + 0.1 * torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(3))})
    conditioning = prior.condition(["a mug"])
    start, end = torch.tensor([0.2]), torch.tensor([0.9])
    x = prior.scales(start)[0] * prior.encode(torch.full((1, 3, 8, 8), 0.52)) + 0.1 * noise_like(prior, 1)
    errors = []
    for steps in (4, 16, 64, 256):
        there = ddim_invert(prior, x, start, end, steps, conditioning, 1.0)
        back = ddim_invert(prior, there, end, start, steps, conditioning, 1.0)
        errors.append((back - x).abs().max().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_equations_6_and_10_agree(prior):
    """DDIM on x(t) and the update on x0 with the cached noise are the same trajectory."""
    conditioning = prior.condition(["a mug"])
    times = torch.linspace(0.98, 0.05, 30)[:, None]
    x = noise_like(prior, 1)
    noise = prior.predict_noise(x, times[0], conditioning, 2.0)
    x0 = one_step_x0(x, noise, *prior.scales(times[0]))
    cached = noise
    for t, t_next in itertools.pairwise(times):
        x = ddim_step(prior, x, t, t_next, noise)
        noise = prior.predict_noise(x, t_next, conditioning, 2.0)
        expected = one_step_x0(x, noise, *prior.scales(t_next))
        a, b = prior.scales(t_next)
        predicted = prior.predict_noise(a * x0 + b * cached, t_next, conditioning, 2.0)
        x0 = x0 - b / a * (predicted - cached)
        cached = predicted
        torch.testing.assert_close(x0, expected, atol=1e-4, rtol=1e-4)
