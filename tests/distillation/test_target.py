import pytest
import torch
from ddim_sample import ddim_sample
from exact_prior import ExactPrior

from sdi_engine.diffusion.prior import Prediction
from sdi_engine.distillation.target import (
    colour_shifts,
    denoised,
    distillation_loss,
    distillation_target,
    without_background_shift,
    without_colour_shift,
)


def test_gradient_of_the_loss_is_sigma_times_the_bracket_of_equation_10():
    prior = ExactPrior({"mug": torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))})
    conditioning = prior.condition(["a mug"])
    x0 = torch.randn(1, 3, 8, 8, requires_grad=True)
    kappa, t = torch.randn(1, 3, 8, 8), torch.tensor([0.6])
    target = distillation_target(prior, x0.detach(), t, kappa, conditioning, 7.5).x0
    distillation_loss(x0, target).backward()
    a, b = prior.scales(t)
    predicted = prior.predict(a * x0.detach() + b * kappa, t, conditioning, 7.5).noise
    torch.testing.assert_close(x0.grad * x0.numel(), b / a * (predicted - kappa), atol=1e-4, rtol=1e-4)


def test_with_another_noisy_input_the_update_is_still_equation_10():
    """Interval score matching asks about another image than the render."""
    prior = ExactPrior({"mug": torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))})
    conditioning = prior.condition(["a mug"])
    x0, kappa, image = (torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    t = torch.tensor([0.6])
    a, b = prior.scales(t)
    expected = x0 - b / a * (prior.predict(a * image + b * kappa, t, conditioning, 7.5).noise - kappa)
    found = distillation_target(prior, x0, t, kappa, conditioning, 7.5, image)
    torch.testing.assert_close(found.x0, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_a_target_of_several_steps_is_where_ddim_comes_to(guidance):
    prior = ExactPrior(
        {"mug": torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3)), "cup": torch.ones(1, 3, 8, 8)}
    )
    conditioning = prior.condition(["a mug"] * 2)
    x0, kappa = (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    t = torch.full((2,), 0.6)
    a, b = prior.scales(t)
    x = a * x0 + b * kappa
    one, four = (distillation_target(prior, x0, t, kappa, conditioning, guidance, steps=steps) for steps in (1, 4))
    seen = prior.predict(x, t, conditioning, guidance)
    assert torch.equal(one.x0, seen.x0)
    assert torch.equal(one.noise, seen.noise)
    assert one.by_guidance is None if guidance == 1.0 else torch.equal(one.by_guidance, seen.by_guidance)
    sampled = ddim_sample(prior, x, torch.tensor([0.6, 0.45, 0.3, 0.15]), conditioning, guidance)
    torch.testing.assert_close(four.x0, sampled)
    assert torch.equal(four.noise, seen.noise)
    assert torch.equal(four.unguided_noise, seen.unguided_noise)
    assert (four.x0 - one.x0).abs().max() > 1e-2


class Keeping(ExactPrior):
    """It sees in x̄ what is there, and a little more for one prompt than for the other."""

    def predict_unguided(self, x, t, text):
        a, b = self.scales(t)
        x0 = x / a + 0.1 * text["shares"][:, 0].view(-1, 1, 1, 1)
        return Prediction(x0, (x - a * x0) / b)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_what_guidance_added_in_all_steps_is_what_the_target_would_be_without(steps):
    prior = Keeping({"mug": torch.rand(1, 3, 4, 4), "cup": torch.rand(1, 3, 4, 4)})
    conditioning = prior.condition(["a mug"])
    x, t = torch.randn(1, 3, 4, 4), torch.tensor([0.6])
    guided, plain = (denoised(prior, x, t, conditioning, guidance, steps) for guidance in (7.5, 1.0))
    torch.testing.assert_close(guided.x0 - guided.by_guidance, plain.x0)
    times = torch.linspace(0.6, 0.0, steps + 1)[:-1]
    torch.testing.assert_close(guided.x0, ddim_sample(prior, x, times, conditioning, 7.5))


def soft_disc():
    """(2, 1, 8, 8): an object with a soft border, and one that hardly leaves any background to be seen."""
    at = torch.arange(8) - 3.5
    opacity = (3.5 - (at[:, None].square() + at.square()).sqrt()).clamp(0.0, 1.0).expand(2, 1, 8, 8).clone()
    opacity[1] = 1.0 - 0.02 * (1.0 - opacity[1])
    return opacity


def test_shifts_of_object_and_background_are_told_apart_also_at_the_border():
    opacity = soft_disc()
    of_object, of_background = torch.randn(2, 3, 1, 1) * opacity, torch.randn(2, 3, 1, 1) * (1.0 - opacity)
    found = colour_shifts(of_object + of_background, opacity)
    for part, wanted in zip(found, (of_object, of_background), strict=True):
        torch.testing.assert_close(part, wanted, rtol=1e-3, atol=1e-3)


def test_details_are_no_shift():
    opacity = soft_disc()
    details = torch.randn(2, 3, 8, 8)
    details = details - sum(colour_shifts(details, opacity))
    for part in colour_shifts(details, opacity):
        assert part.abs().max() < 1e-3


@pytest.mark.parametrize("everywhere", [0.0, 0.5, 1.0])
def test_where_object_and_background_cannot_be_told_apart_one_shift_is_that_of_both(everywhere):
    opacity, change = torch.full((1, 1, 8, 8), everywhere), torch.randn(1, 3, 8, 8)
    of_object, of_background = colour_shifts(change, opacity)
    mean = change.mean((2, 3), keepdim=True).expand_as(change)
    torch.testing.assert_close(of_object, everywhere * mean)
    torch.testing.assert_close(of_background, (1.0 - everywhere) * mean)


def test_only_the_shift_of_the_background_is_taken_off_what_a_target_differs_by():
    opacity = soft_disc()
    x0 = torch.randn(2, 3, 8, 8)
    darker, behind = torch.randn(2, 3, 1, 1) * opacity, torch.randn(2, 3, 1, 1) * (1.0 - opacity)
    found = without_background_shift(x0, x0 + darker + behind, opacity)
    torch.testing.assert_close(found, x0 + darker, rtol=1e-3, atol=1e-3)


def test_of_guidance_only_what_one_colour_of_the_object_explains_is_taken_off():
    opacity = soft_disc()
    details, target = torch.randn(2, 2, 3, 8, 8)
    details = details - sum(colour_shifts(details, opacity))
    darker, behind = torch.randn(2, 3, 1, 1) * opacity, torch.randn(2, 3, 1, 1) * (1.0 - opacity)
    found = without_colour_shift(target, darker + behind + details, opacity)
    torch.testing.assert_close(found, target - darker, rtol=1e-3, atol=1e-3)


def test_a_target_says_what_guidance_added_to_it():
    prior = ExactPrior({"mug": torch.rand(4, 3, 8, 8), "cup": torch.rand(4, 3, 8, 8)})
    conditioning = prior.condition(["a mug"])
    x0, kappa, t = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8), torch.tensor([0.6])
    for image in (None, torch.randn(1, 3, 8, 8)):
        guided = distillation_target(prior, x0, t, kappa, conditioning, 7.5, image)
        plain = distillation_target(prior, x0, t, kappa, conditioning, 1.0, image)
        assert plain.by_guidance is None
        torch.testing.assert_close(guided.x0 - guided.by_guidance, plain.x0)
