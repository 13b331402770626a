"""A model that torch compiles, where that works; the compiler itself is not asked here, since it takes minutes."""

import pytest
import torch
from tiny_models import write_stable_diffusion

from sdi_engine.diffusion.counted_prior import CountedPrior
from sdi_engine.diffusion.loading import load_prior

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return CountedPrior(load_prior(str(write_stable_diffusion(tmp_path_factory.mktemp("models") / "tiny")), CPU))


def asked(prior):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return prior.predict_unguided(x, torch.full((1,), 0.5), prior.no_text()).noise


def test_it_is_compiled_on_request_and_released_again(prior, monkeypatch):
    plain, compiled = asked(prior), []

    def compile(function, dynamic):
        return lambda *arguments, **named: compiled.append(1) or function(*arguments, **named)

    monkeypatch.setattr(torch, "compile", compile)
    said, passed = [], []
    prior.at_safepoints(lambda: passed.append(1))
    asked(prior)
    assert len(passed) > 2
    prior.compile(said.append)
    passed.clear()
    prior.at_safepoints(lambda: passed.append(1))
    assert torch.equal(asked(prior), plain)
    assert (len(compiled), passed, said) == (1, [], [])
    prior.compile(None)
    prior.at_safepoints(lambda: passed.append(1))
    assert torch.equal(asked(prior), plain)
    assert len(compiled) == 1
    assert len(passed) > 2


def test_where_that_does_not_work_it_runs_as_it_is_and_says_so(prior, monkeypatch):
    plain, tried = asked(prior), []

    def fail(*arguments, **named):
        tried.append(1)
        raise RuntimeError("Compiler: cl is not found.\nand a long report")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: fail)
    said = []
    prior.compile(said.append)
    assert torch.equal(asked(prior), plain)
    assert torch.equal(asked(prior), plain)
    assert said == ["The model cannot be compiled here (Compiler: cl is not found.), so it runs as it is."]
    assert len(tried) == 1
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: out_of_memory)
    prior.compile(said.append)
    with pytest.raises(RuntimeError, match="out of memory"):
        asked(prior)
    prior.compile(None)


def out_of_memory(*arguments, **named):
    raise RuntimeError("CUDA out of memory.")
