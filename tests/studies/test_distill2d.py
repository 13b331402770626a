"""With the right noise, score distillation is DDIM: eq. (10) = eq. (6)."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from tiny_models import write_sd3, write_stable_diffusion

from sdi_engine.config.parameters import NOISES, NOISES_2D
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.distillation.ddim import ddim_trajectory
from sdi_engine.distillation.noise import CHOICES_2D, Context, Noise
from sdi_engine.run.guidance import Guidance
from sdi_engine.run.resolve import resolve
from sdi_engine.studies.distill2d import SAME, score_distillation, trajectory
from sdi_engine.studies.sampling import starting_noise
from sdi_engine.studies.study import Study

TINY = {
    "epsilon": lambda folder: write_stable_diffusion(folder, "epsilon"),
    "velocity": lambda folder: write_stable_diffusion(folder, "v_prediction"),
    "pixels": lambda folder: write_stable_diffusion(folder, "sample", vae=False),
    "flow": lambda folder: write_sd3(folder),
}


def cached(x0, t, previous):
    return CHOICES_2D["cached"](None, x0, t, None, Context(0.0, 0.0, None, None, 0, previous))


def largest_difference(prior, prompt, guidance, steps=10, choose=cached):
    """The largest difference at any time between DDIM and score distillation from the same noise."""
    times = prior.sampling_times(steps)
    conditioning = prior.condition([prompt] * 2, "")
    x = starting_noise(prior, [0, 1], prior.resolution)
    ddim = ddim_trajectory(prior, x, times, conditioning, guidance)
    distilled = score_distillation(prior, x, times, conditioning, guidance, choose)
    return max((one.x0 - other.x0).abs().max().item() for one, other in zip(ddim, distilled, strict=True))


def literal_difference(prior, prompt, guidance, steps=10):
    """The same with eq. (10) taken literally: x0(t−τ) = x0(t) − σ(t−τ)·[ε(a·x0(t) + b·κ, y) − κ]."""
    times = prior.sampling_times(steps)
    conditioning = prior.condition([prompt], "")
    ddim = ddim_trajectory(prior, starting_noise(prior, [0], prior.resolution), times, conditioning, guidance)
    first = next(ddim)
    x0, kappa = first.x0, first.noise
    differences = []
    for t, by_ddim in zip(times[1:, None], ddim, strict=True):
        a, b = prior.scales(t)
        with torch.no_grad():
            noise = prior.predict(a * x0 + b * kappa, t, conditioning, guidance).noise
        x0, kappa = x0 - b / a * (noise - kappa), noise
        differences.append((x0 - by_ddim.x0).abs().max().item())
    return max(differences)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0, 7.5, -7.5])
def test_with_cached_noise_it_is_ddim(prior, guidance):
    assert largest_difference(prior, "ball", guidance) <= SAME
    assert literal_difference(prior, "ball", guidance) <= SAME


def test_with_other_noise_it_is_not(prior):
    assert largest_difference(prior, "ball", 3.0, choose=lambda x0, t, previous: Noise(torch.ones_like(x0))) > 0.1


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Priors of tiny models, by what these predict."""
    folder = tmp_path_factory.mktemp("models")
    return {kind: load_prior(str(write(folder / kind)), torch.device("cpu")) for kind, write in TINY.items()}


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_with_cached_noise_it_is_ddim_whatever_a_model_predicts(tiny, kind, guidance):
    prior = tiny[kind]
    assert largest_difference(prior, "a mug", guidance) <= SAME
    assert literal_difference(prior, "a mug", guidance) <= SAME


def test_with_cached_noise_it_is_ddim_for_the_starter_prior():
    prior = load_prior("starter", torch.device("cpu"))
    assert largest_difference(prior, "a red mushroom", prior.hints.guidance_scale, steps=4) <= SAME
    assert literal_difference(prior, "a red mushroom", prior.hints.guidance_scale, steps=4) <= SAME


def cached_3d(prior):
    """κ of the cells of noise on the object, where the cells are the pixels: `choose` of `largest_difference`."""
    request = JobRequest("a ball", noise="cached-3d", guidance_scale=3.0)
    guidance = Guidance(prior, resolve(request, prior.hints, prior.resolution), 0)
    random = torch.Generator().manual_seed(0)
    return lambda x0, t, previous: guidance.noise(x0, t, None, random, previous)


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_where_the_cells_are_the_pixels_noise_that_is_cached_on_the_object_makes_it_ddim(prior, guidance):
    """Eq. (10) is eq. (6), as with the cached noise of 2D: the object is flat, and every step sees the same of it."""
    assert largest_difference(prior, "ball", guidance, choose=cached_3d(prior)) <= SAME


@pytest.mark.parametrize("kind", TINY)
def test_so_it_is_ddim_whatever_a_model_predicts(tiny, kind):
    prior = tiny[kind]
    assert largest_difference(prior, "a mug", 1.0, choose=cached_3d(prior)) <= SAME


def test_with_guidance_it_takes_the_noise_that_is_added_again_from_the_model_without_guidance(prior):
    """As CFG++ does, which takes that of the empty prompt: x(t−τ) = a·x0 + b·ε, a guided x0 and an unguided ε."""
    gamma, times = 3.0, prior.sampling_times(10)
    conditioning = prior.condition(["ball"] * 2)
    x = starting_noise(prior, [0, 1], prior.resolution)
    distilled = score_distillation(prior, x, times, conditioning, gamma, cached_3d(prior))
    moved = 0.0
    for (t, t_next), prediction in zip(pairwise([*times, times[-1]]), distilled, strict=True):
        guided, unguided = (prior.predict(x, t.expand(2), conditioning, scale) for scale in (gamma, 1.0))
        assert (prediction.x0 - guided.x0).abs().max() <= SAME
        a, b = prior.scales(t_next.expand(2))
        x = a * guided.x0 + b * unguided.noise
        moved = max(moved, (guided.x0 - unguided.x0).abs().max().item())
    assert moved > 0.1, "guidance does nothing"


@pytest.mark.parametrize("noise", [noise for noise in NOISES if noise != "interval"])
def test_every_noise_ends_in_an_image_of_the_prompt(exact_study, noise):
    """Except interval score matching: its target is a direction, not an image, and full steps along it diverge."""
    times = exact_study.prior.sampling_times(12)
    *_, last = trajectory(exact_study, "ball", noise, times)
    centre = last.x0[0, :, 8, 8]
    assert centre[0] > centre[1] + 0.5, "red in the middle"


def test_random_noise_is_drawn_from_the_seed(exact_study):
    def last_x0(study):
        *_, last = trajectory(study, "ball", "random", study.prior.sampling_times(4))
        return last.x0

    other_seed = dataclasses.replace(exact_study, request=dataclasses.replace(exact_study.request, seed=1))
    assert torch.equal(last_x0(exact_study), last_x0(exact_study))
    assert not torch.equal(last_x0(exact_study), last_x0(other_seed))


def test_starting_noise_is_each_seeds_own(prior):
    together = starting_noise(prior, [4, 5, 6], 16)
    assert torch.equal(together[1:2], starting_noise(prior, [5], 16))
    assert together.std().item() == pytest.approx(1.0, abs=0.1)


def test_a_study_of_the_released_code_inverts_in_2d_too(prior):
    request = JobRequest("ball", preset="threestudio", guidance_scale=1.0)
    study = Study(request, prior, resolve(request, prior.hints, prior.resolution), "exact")
    papers = dataclasses.replace(study, settings=dataclasses.replace(study.settings, released_code=False))
    times = torch.tensor([0.9, 0.5, 0.1])
    (*_, last), (*_, other) = (trajectory(each, "ball", "inversion", times) for each in (study, papers))
    assert last.x0.isfinite().all()
    assert not torch.allclose(last.x0, other.x0, atol=1e-3), "it is the paper's inversion"


@pytest.mark.parametrize("noise", NOISES_2D)
def test_where_there_is_no_signal_left_nothing_is_divided_by_it(tmp_path, noise):
    """A flow's schedule that is shifted far has several times that are 1, or so near to it that rounding shows."""
    prior = load_prior(str(write_sd3(tmp_path / "tiny")), torch.device("cpu"))
    request = JobRequest("a mug", noise=noise if noise in NOISES else "inversion", guidance_scale=5.0)
    study = Study(request, prior, resolve(request, prior.hints, prior.resolution), "tiny")
    times = torch.tensor([1.0, 1.0, 1.0 - 1e-7, 0.9999, 0.5])
    ddim, other = (list(trajectory(study, "a mug", name, times)) for name in ("ddim", noise))
    assert all(each.x0.isfinite().all() and each.noise.isfinite().all() for each in other)
    if noise == "cached":
        assert max((one.x0 - two.x0).abs().max().item() for one, two in zip(ddim, other, strict=True)) <= SAME
