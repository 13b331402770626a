"""Studies on models with known scores, in small pictures, so that they take no time."""

import json

import pytest
import torch
from exact_prior import ExactPrior, ball_images

from sdi_engine.cli import commands as cli
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import model_index
from sdi_engine.diffusion.needs import Weights
from sdi_engine.run import fitting
from sdi_engine.run.resolve import resolve
from sdi_engine.studies import runs, study

RESOLUTION = 16


@pytest.fixture(autouse=True)
def small_views(monkeypatch):
    monkeypatch.setattr(runs, "LEAST_VIEW_RESOLUTION", 24)


@pytest.fixture(autouse=True)
def unknown_words(monkeypatch):
    """The exact prior stands in for the starter prior, and knows other words."""
    monkeypatch.setattr(model_index, "words_of", lambda folder: {})


@pytest.fixture
def prior():
    """An exact prior of two images: a ball and, in other colours, a moon."""
    balls = ball_images(RESOLUTION)
    return ExactPrior({"ball": balls, "moon": balls.flip(1)})


@pytest.fixture
def too_large(monkeypatch):
    """No model fits into memory."""
    sizes = {part: dict.fromkeys(("cpu", "cuda", "mps"), 2**33) for part in ("unet", "vae")}
    monkeypatch.setattr(fitting, "weigh", lambda *_: Weights("SDXL", sizes, {}, "unet", 1024, 8, 128))
    monkeypatch.setattr(fitting, "free_bytes", lambda device: -(2**35))


@pytest.fixture
def exact_study(prior):
    request = JobRequest("ball", preset="draft", steps=6, guidance_scale=2.0)
    return study.Study(request, prior, resolve(request, prior.hints, prior.resolution), "exact")


@pytest.fixture
def exact_model(prior, monkeypatch):
    """Makes the command line load the exact prior, whatever the model's name."""
    monkeypatch.setattr(study, "load_prior", lambda *_: prior)
    return prior


@pytest.fixture
def command(capsys):
    """A command's exit code and the JSON of its last line."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, json.loads(capsys.readouterr().out.strip().rpartition("\n")[2])

    return run


def silent(event):
    """A report that is discarded."""


@pytest.fixture
def report():
    return silent


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)
