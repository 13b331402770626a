import dataclasses

import pytest
import torch
from exact_prior import ExactPrior, ball_images

from sdi_engine.config.parameters import NOISES
from sdi_engine.distillation.noise import NEED_CELLS
from sdi_engine.distillation.surface_noise import Footprints
from sdi_engine.studies.noise_error import Inputs, ResidualRun, guidance_variants, kappa_variants, residual, sdi_run


@pytest.fixture
def inputs(prior):
    x0 = prior.encode(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    return Inputs(x0, torch.full((2,), 0.5), prior.condition(["ball", "ball"]))


def test_the_residual_is_that_of_eq_8(exact_study, inputs):
    settings = dataclasses.replace(exact_study.settings, noise="random")
    measured = residual(exact_study, settings, inputs, torch.Generator().manual_seed(7))

    kappa = torch.randn(inputs.x0.shape, generator=torch.Generator().manual_seed(7))
    a, b = exact_study.prior.scales(inputs.t)
    noise = exact_study.prior.predict(a * inputs.x0 + b * kappa, inputs.t, inputs.conditioning, 2.0).noise
    by_hand = (b / a * (noise - kappa)).square().mean((1, 2, 3)).sqrt().mean().item()
    assert measured == pytest.approx(by_hand, rel=1e-3)


def test_the_residual_of_a_model_of_one_image_is_the_distance_to_it(exact_study):
    """Such a model always predicts the true noise: every κ solves eq. (8) for its image, and none for another one."""
    image, other = ball_images(16)[:1], ball_images(16)[3:4]
    prior = ExactPrior({"ball": image})
    study = dataclasses.replace(exact_study, prior=prior)
    for shown in (image, other):
        inputs = Inputs(prior.encode(shown), torch.tensor([0.5]), prior.condition(["ball"]))
        distance = (prior.encode(shown) - prior.encode(image)).square().mean().sqrt().item()
        for noise in ("random", "fixed", "fixed-point", "inversion"):
            settings = dataclasses.replace(exact_study.settings, noise=noise)
            measured = residual(study, settings, inputs, torch.Generator().manual_seed(0))
            assert measured == pytest.approx(distance, abs=1e-4)


def test_the_pairs_are_those_of_fig_10(exact_study):
    variants = guidance_variants(dataclasses.replace(exact_study.settings, guidance_scale=7.5))
    assert list(variants) == ["(7.5, 7.5)", "(0, 0)", "(0, 7.5)", "(-7.5, 7.5)"]
    for name, settings in variants.items():
        assert name == f"({settings.inversion_guidance_scale:g}, {settings.guidance_scale:g})"
        assert settings.noise == "inversion"
    assert {settings.noise for settings in kappa_variants(exact_study.settings).values()} == set(NOISES)


def test_measuring_does_not_disturb_the_run(exact_study, report):
    run = sdi_run(exact_study, "ball")
    measured = ResidualRun(run, 3).work(exact_study, report)
    alone = run.work(exact_study, report)
    assert [one.tobytes() for one in measured.pictures] == [one.tobytes() for one in alone.pictures]
    timeless = {"outcome", "steps", "evaluations", "sharpness", "saturation"}
    assert {name: measured.numbers["run"][name] for name in timeless} == {
        name: alone.numbers[name] for name in timeless
    }


def test_noise_on_the_object_follows_the_run_whose_renders_it_is_measured_on(exact_study, report, monkeypatch):
    """It sees the surface in every step, also in those between two measurements, and what it learns stays."""
    seen = []
    of_surface = Footprints.of_surface

    def counted(*arguments):
        seen.append(arguments)
        return of_surface(*arguments)

    monkeypatch.setattr(Footprints, "of_surface", staticmethod(counted))
    numbers = ResidualRun(sdi_run(exact_study, "ball"), 3).work(exact_study, report).numbers
    assert len(seen) == 6 * len(NEED_CELLS)
    assert all(len(numbers["kappa"][name]) == 3 for name in NEED_CELLS)


def test_residuals_are_measured_at_evenly_spaced_steps_of_the_run(exact_study, report):
    numbers = ResidualRun(sdi_run(exact_study, "ball"), 3).work(exact_study, report).numbers
    schedule = exact_study.settings.t
    assert numbers["t"] == pytest.approx([schedule(step / 6) for step in (0, 2, 5)])
    assert set(numbers["kappa"]) == {*NOISES, "bare inversion"}
    curves = [*numbers["kappa"].values(), *numbers["guidance"].values()]
    assert all(len(curve) == 3 and min(curve) > 0.0 for curve in curves)
    # another generator for each, but the same renders: the pair (−γ, γ) is the run's own way to invert
    assert numbers["guidance"]["(-2, 2)"] == pytest.approx(numbers["kappa"]["inversion"], rel=0.5)
