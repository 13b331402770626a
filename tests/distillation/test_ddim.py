"""Against the closed-form denoiser, whose DDIM trajectories are known to end on its images."""

import pytest
import torch
from ddim_sample import ddim_sample
from exact_prior import ExactPrior, StraightPrior

from sdi_engine.diffusion.prior import Prediction
from sdi_engine.distillation.ddim import ddim_invert, ddim_step, ddim_trajectory


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


def test_step_is_equation_2(prior):
    """x̄(t') = x̄(t) + ε·[σ(t') − σ(t)]."""
    x, noise = noise_like(prior), noise_like(prior) * 0.3
    t, t_next = torch.full((4,), 0.7), torch.full((4,), 0.5)
    (a, b), (a_next, b_next) = prior.scales(t), prior.scales(t_next)
    expected = x / a + noise * (b_next / a_next - b / a)
    stepped = ddim_step(prior, Prediction((x - b * noise) / a, noise), t_next)
    torch.testing.assert_close(stepped / a_next, expected, atol=1e-5, rtol=1e-5)


def test_a_trajectory_asks_the_model_at_every_time_and_a_sample_is_its_end(prior):
    conditioning, times = prior.condition(["a mug"] * 4), torch.linspace(0.98, 0.1, 7)
    prior.evaluations = 0
    trajectory = list(ddim_trajectory(prior, noise_like(prior), times, conditioning, 1.0))
    assert prior.evaluations == 7 * 4
    assert len(trajectory) == 7
    sampled = ddim_sample(prior, noise_like(prior), times, conditioning, 1.0)
    assert torch.equal(sampled, trajectory[-1].x0)
    for t, prediction in zip(times, trajectory, strict=True):
        a, b = prior.scales(t.expand(4))
        again = prior.predict(a * prediction.x0 + b * prediction.noise, t.expand(4), conditioning, 1.0)
        torch.testing.assert_close(again.x0, prediction.x0, atol=1e-3, rtol=1e-3)


def test_inversion_goes_in_equal_steps_of_t_from_its_start_to_its_end(prior):
    prior = StraightPrior(noise_like(prior, 1).flip(-1))
    x0 = noise_like(prior, 1)
    (a, b), (a_end, b_end) = prior.scales(torch.tensor([0.2])), prior.scales(torch.tensor([0.8]))
    x, conditioning = a * x0 + b * prior.noise, prior.condition(["a mug"])
    there = ddim_invert(prior, x, torch.tensor([0.2]), torch.tensor([0.8]), 3, conditioning, 1.0)
    assert prior.asked == pytest.approx([0.2, 0.4, 0.6])
    torch.testing.assert_close(there, a_end * x0 + b_end * prior.noise)


def test_inversion_then_sampling_returns_with_an_error_that_falls_with_the_steps():
    # similar images, so that the score is smooth along the trajectory
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


@pytest.mark.parametrize("guidance", [1.0, 2.0, 7.5])
def test_equations_6_and_10_agree(prior, guidance):
    """DDIM on x(t) (eq. 2), on x0 (eq. 6), and the update with the cached noise (eq. 10) are one trajectory."""
    conditioning = prior.condition(["a mug"])
    times = torch.linspace(0.98, 0.05, 30)
    trajectory = list(ddim_trajectory(prior, noise_like(prior, 1), times, conditioning, guidance))
    x0, kappa = trajectory[0].x0, trajectory[0].noise
    by_differences = x0
    for before, after, t in zip(trajectory[:-1], trajectory[1:], times[1:].unbind(), strict=False):
        a, b = prior.scales(t.view(1))
        by_differences = by_differences - b / a * (after.noise - before.noise)
        predicted = prior.predict(a * x0 + b * kappa, t.view(1), conditioning, guidance).noise
        x0, kappa = x0 - b / a * (predicted - kappa), predicted
        torch.testing.assert_close(by_differences, after.x0, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(x0, after.x0, atol=1e-4, rtol=1e-4)
