"""The released code's inversion, against its arithmetic written out on a scheduler's table of α."""

import dataclasses
import itertools
import math

import pytest
import torch
from exact_prior import ExactPrior

from sdi_engine.config.evaluations import whole_timestep
from sdi_engine.config.settings import PRESETS
from sdi_engine.distillation.noise import Context
from sdi_engine.distillation.target import distillation_target
from sdi_engine.distillation.threestudio import inversion_timesteps, released_noise


@pytest.fixture
def prior():
    return ExactPrior({"mug": 0.4 + 0.2 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))})


def context():
    settings = dataclasses.replace(PRESETS["threestudio"], inversion_steps_per_unit=10, inversion_entropy=0.3)
    return Context(7.5, -7.5, settings, torch.Generator().manual_seed(11), seed=0)


@pytest.mark.parametrize(
    ("timestep", "delta", "expected"),
    [
        (980, 40, [-99, 1, 101, 201, 301, 401, 501, 601, 701, 801, 901, 999]),
        (980, 7, [-99, 1, 101, 201, 301, 401, 501, 601, 701, 801, 901, 987]),
        (250, 0, [-99, 1, 101, 201, 250]),
        (201, 99, [-99, 1, 101, 300]),
        (2, 0, [-99, 1, 2]),
    ],
)
def test_timesteps(timestep, delta, expected):
    assert inversion_timesteps(timestep, delta, 10) == expected


def test_times_are_rounded_down_to_whole_timesteps():
    assert [whole_timestep(t) for t in (0.98, 0.2505, 0.2509, 0.57)] == [980, 250, 250, 570]


@pytest.mark.parametrize("timestep", [980, 640, 250])
def test_noisy_latent_and_target_are_those_of_the_released_arithmetic(prior, timestep):
    """Step by step on α of whole timesteps, with the same random numbers in the same order."""
    conditioning = prior.condition(["a mug"])
    latent = prior._images[:1].view(1, 3, 8, 8) + 0.1
    alphas = torch.cumprod(1.0 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)

    def ask(x, label, guidance):
        return prior.predict(x, torch.tensor([label / 1000.0]), conditioning, guidance).noise

    def alpha(label):
        return alphas[max(label, 0)].item()

    random = torch.Generator().manual_seed(11)
    delta = int(torch.rand((), generator=random).item() * 1000 // 10)
    labels = [-99, *(point for point in range(1, 1000, 100) if point < timestep), min(timestep + delta, 999)]
    x = latent
    for label, following in itertools.pairwise(labels):
        noise = ask(x, label, -7.5)
        clean = (x - math.sqrt(1.0 - alpha(label)) * noise) / math.sqrt(alpha(label))
        x = math.sqrt(alpha(following)) * clean + math.sqrt(1.0 - alpha(following)) * noise
        variance = (1.0 - alpha(label)) / (1.0 - alpha(following)) * (1.0 - alpha(following) / alpha(label))
        x = x + 0.3 * math.sqrt(variance) * torch.randn(x.shape, generator=random)
    seen = ask(x, timestep, 7.5)
    target = (x - math.sqrt(1.0 - alpha(timestep)) * seen) / math.sqrt(alpha(timestep))

    t = torch.tensor([timestep / 1000.0])
    kappa, _ = released_noise(prior, latent, t, conditioning, context())
    a, b = prior.scales(t)
    torch.testing.assert_close(a * latent + b * kappa, x, atol=2e-4, rtol=1e-4)
    found = distillation_target(prior, latent, t, kappa, conditioning, 7.5).x0
    torch.testing.assert_close(found, target, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_real_layout_is_asked_at_the_timesteps_of_the_released_code(prediction_type, tmp_path):
    """The first call is at timestep −99, which no network was trained with."""
    from tiny_models import write_stable_diffusion

    from sdi_engine.diffusion.loading import load_prior

    prior = load_prior(str(write_stable_diffusion(tmp_path / "model", prediction_type)), torch.device("cpu"))
    heard = []
    prior._denoiser.register_forward_pre_hook(lambda module, inputs: heard.append(round(inputs[1][0].item())))
    latent, t = torch.randn(1, *prior.latent_shape(16)), torch.tensor([0.25])
    kappa, _ = released_noise(prior, latent, t, prior.condition(["a mug"]), context())
    assert heard == [-99, 1, 101, 201]
    assert kappa.isfinite().all()
