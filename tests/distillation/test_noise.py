import pytest
import torch
from exact_prior import ExactPrior

from sdi_engine.distillation.ddim import ddim_invert
from sdi_engine.distillation.noise import inversion_steps, inverted_noise, random_noise


@pytest.fixture
def prior():
    return ExactPrior({"mug": 0.4 + 0.2 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))})


def invert(prior, x0, t, **changes):
    options = {
        "guidance": -1.0,
        "steps": 8,
        "start": 0.0,
        "overshoot": 0.0,
        "entropy": 0.0,
        "generator": torch.Generator().manual_seed(0),
    }
    conditioning = prior.condition(["a mug"] * len(x0))
    return inverted_noise(prior, x0, t, conditioning, **(options | changes))


def test_random_noise_is_standard_normal_and_comes_from_the_generator():
    x0 = torch.zeros(4, 3, 64, 64)
    noise = random_noise(x0, torch.Generator().manual_seed(1))
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1.0) < 0.02
    assert torch.equal(noise, random_noise(x0, torch.Generator().manual_seed(1)))


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
    assert inverted < 0.2 * error(random_noise(x0, torch.Generator().manual_seed(1)))


def test_overshoot_inverts_further_than_the_time_at_which_the_noise_is_added(prior):
    x0, t = prior._images[:1].view(1, 3, 8, 8), torch.tensor([0.5])
    assert torch.equal(invert(prior, x0, t), invert(prior, x0, t, overshoot=0.0))
    assert (invert(prior, x0, t) - invert(prior, x0, t, overshoot=0.3)).abs().max() > 1e-3


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
        draws = [invert(prior, x0, t, entropy=0.3, generator=torch.Generator().manual_seed(seed)) for seed in range(40)]
        spread = torch.stack(draws).std(dim=0).mean().item()
        assert spread == pytest.approx(0.3 * b.item(), rel=0.1)


@pytest.mark.parametrize(("t", "steps"), [(0.98, 9), (0.5, 5), (0.19, 1), (0.01, 1)])
def test_number_of_inversion_steps(t, steps):
    assert inversion_steps(t, 10) == steps
