"""Small networks on a processor, traced: the same output, and the network as it is where that does not work."""

import gc
import weakref

import pytest
import torch
from tiny_models import write_stable_diffusion
from torch import nn

from sdi_engine.config.parameters import STARTER_MODEL
from sdi_engine.diffusion import traced
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.traced import TracedNetwork

CPU = torch.device("cpu")
WIDTH = 1024


class Network(nn.Module):
    """Just large enough to be traced; says how often Python ran it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.calls = 0

    def forward(self, x, scale):
        self.calls += 1
        return self.layer(x) * scale[:, None]


class Untraceable(Network):
    def forward(self, x, scale):
        if torch.jit.is_tracing():
            raise RuntimeError("not this one")
        return super().forward(x, scale)


class Otherwise(Network):
    def forward(self, x, scale):
        return super().forward(x, scale) + (1.0 if torch.jit.is_tracing() else 0.0)


def inputs(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=generator), torch.rand(count, generator=generator)


@pytest.fixture(autouse=True)
def no_traces(monkeypatch):
    traces = {}
    monkeypatch.setattr(traced, "_traces", lambda: traces)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_trace_gives_what_the_network_does_without_python(threads, count):
    network = Network()
    traced_network = TracedNetwork(network, network, network)
    traced_network(*inputs(count))
    network.calls = 0
    for seed in (1, 2):
        x, scale = inputs(count, seed)
        output = traced_network(x, scale)
        assert network.calls == 0
        assert torch.allclose(output, network.layer(x) * scale[:, None], atol=1e-5)


def test_weights_that_change_are_those_that_count():
    network = Network()
    traced_network = TracedNetwork(network, network, network)
    traced_network(*inputs(2))
    network.layer.weight.mul_(2.0)
    assert torch.allclose(traced_network(*inputs(2)), network(*inputs(2)), atol=1e-5)


def test_networks_of_one_kind_share_their_traces_which_keep_no_weights():
    one, other = Network(), Network()
    TracedNetwork(one, one, "kind")(*inputs(2))
    other.calls = 0
    x, scale = inputs(2)
    assert torch.allclose(TracedNetwork(other, other, "kind")(x, scale), other.layer(x) * scale[:, None], atol=1e-5)
    assert other.calls == 0
    gone = weakref.ref(one.layer.weight)
    del one
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", [Untraceable, Otherwise])
def test_where_a_trace_does_not_work_the_network_runs_as_it_is(kind):
    network = kind()
    traced_network = TracedNetwork(network, network, network)
    assert traced_network.works
    assert torch.equal(traced_network(*inputs(2)), network(*inputs(2)))
    assert not traced_network.works
    assert torch.equal(traced_network(*inputs(2, 1)), network(*inputs(2, 1)))


def test_shapes_without_end_are_not_traced_without_end(monkeypatch):
    monkeypatch.setattr(traced, "shares", lambda count, device: [(0, count)])
    network = Network()
    traced_network = TracedNetwork(network, network, network)
    for count in range(1, traced.MOST_TRACES + 3):
        assert torch.allclose(traced_network(*inputs(count)), network(*inputs(count)), atol=1e-5)
    assert len(traced._traces()) == traced.MOST_TRACES


def test_small_and_large_networks_run_as_they_are(monkeypatch):
    assert not TracedNetwork(nn.Linear(8, 8), nn.Identity(), 0).works
    monkeypatch.setattr(traced, "WORTH_TRACING", range(1000))
    assert not TracedNetwork(Network(), nn.Identity(), 0).works


@pytest.fixture(scope="module")
def starter():
    return load_prior(STARTER_MODEL, CPU)


@pytest.mark.parametrize("count", [1, 3])
def test_the_starter_prior_is_traced_and_predicts_the_same(starter, count, monkeypatch):
    x = torch.randn(count, *starter.latent_shape(64), generator=torch.Generator().manual_seed(count))
    text = starter.text(["a red mug", "a blue house", ""][:count])
    t = torch.linspace(0.9, 0.2, count)
    first = starter.predict_unguided(x, t, text)
    asked = []
    monkeypatch.setattr(starter._denoiser, "forward", lambda *a, **k: asked.append(1) or type(u).forward(u, *a, **k))
    u = starter._denoiser
    again = starter.predict_unguided(x, t, text)
    assert not asked
    monkeypatch.setattr(starter._traced, "_works", False)
    plain = starter.predict_unguided(x, t, text)
    assert asked
    for prediction in (first, again):
        assert torch.allclose(prediction.x0, plain.x0, atol=1e-3)


def test_a_gradient_still_reaches_what_the_starter_prior_is_asked_with(starter):
    x = torch.randn(1, *starter.latent_shape(64)).requires_grad_()
    starter.predict_unguided(x, torch.full((1,), 0.5), starter.text(["a red mug"])).x0.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0.0


def test_a_traced_model_has_no_safepoints_in_an_evaluation(starter, tmp_path):
    assert starter.safepoints[0] == 0
    tiny = load_prior(str(write_stable_diffusion(tmp_path / "tiny")), CPU)
    assert tiny.safepoints[0] > 0
