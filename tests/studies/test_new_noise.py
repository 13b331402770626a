"""A new choice of κ: one function, entered in the table, works wherever the others do."""

import dataclasses

import pytest

from sdi_engine.config import parameters
from sdi_engine.contract import request
from sdi_engine.distillation import noise
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.studies.noise_error import ResidualRun, sdi_run


def halved_noise(prior, x0, t, y, context):
    """Half of the noise that the model predicts in the clean render."""
    asked.append(context.settings.noise)
    return noise.Noise(0.5 * prior.predict(x0, t, y, context.guidance).noise)


asked = []


@pytest.fixture(autouse=True)
def halved(monkeypatch):
    asked.clear()
    monkeypatch.setitem(noise.CHOICES, "halved", halved_noise)
    known = parameters.PARAMETERS["noise"]
    halved = parameters.Choice("halved", "Halved", "Half of what the model sees")
    monkeypatch.setitem(parameters.PARAMETERS, "noise", dataclasses.replace(known, choices=(*known.choices, halved)))
    monkeypatch.setattr(parameters, "NOISES_2D", (*parameters.NOISES_2D, "halved"))


def test_a_request_may_ask_for_it():
    assert request.JobRequest("a ball", noise="halved").validated().noise == "halved"


def test_the_loop_runs_with_it(exact_study):
    settings = dataclasses.replace(exact_study.settings, noise="halved")
    optimisation = Optimisation(exact_study.prior, "ball", "", settings, seed=0)
    optimisation.advance()
    assert asked == ["halved"]


def test_compare_and_2d_distillation_show_it(command, exact_model, tmp_path):
    code, said = command("compare", "a ball", "-o", tmp_path / "3d", "--preset", "draft", "--steps", 2, "--json")
    assert code == 0
    assert said["runs"][-1]["noise"] == "halved"
    code, said = command("distill2d", "ball", "-o", tmp_path / "2d", "--noise", "halved", "--steps", 3, "--json")
    assert code == 0
    assert said["noise"] == "halved"
    assert asked.count("halved") == 2 + 2, "two steps in 3D, and in 2D all but the first"


def test_its_residual_is_measured(exact_study, report):
    study = dataclasses.replace(exact_study, settings=dataclasses.replace(exact_study.settings, steps=1))
    numbers = ResidualRun(sdi_run(study, "ball"), 1).work(study, report).numbers
    assert len(numbers["kappa"]["halved"]) == 1
    assert asked == ["halved"]
