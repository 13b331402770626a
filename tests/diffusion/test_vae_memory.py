"""A VAE's graph: what is held of it, and that the numbers are the same however images are encoded."""

import pytest
import torch
from tiny_models import write_stable_diffusion

from sdi_engine.diffusion import diffusers_prior
from sdi_engine.diffusion.loading import load_prior

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return load_prior(str(write_stable_diffusion(tmp_path_factory.mktemp("models") / "tiny")), CPU)


def encoded(prior, images):
    """x0, the gradient of a function of it, and the bytes that were held until that was asked for."""
    held = 0

    def hold(tensor):
        nonlocal held
        held += tensor.nbytes
        return tensor

    leaf = images.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        x0 = prior.encode(leaf)
    x0.square().sum().backward()
    return x0.detach(), leaf.grad, held


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_large_graph_is_made_again_where_memory_is_short(prior, images, monkeypatch):
    x0, gradient, held = encoded(prior, images)
    monkeypatch.setattr(diffusers_prior, "SMALL_GRAPH_BYTES", 0)
    monkeypatch.setattr(diffusers_prior, "free_bytes", lambda device: 2**40)
    plenty = encoded(prior, images)
    monkeypatch.setattr(diffusers_prior, "free_bytes", lambda device: 2**10)
    short = encoded(prior, images)
    assert torch.equal(plenty[0], short[0])
    assert torch.equal(plenty[1], short[1])
    torch.testing.assert_close(short[0], x0, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(short[1], gradient, rtol=1e-5, atol=1e-6)
    assert plenty[2] > 0.8 * held
    assert short[2] < 0.02 * held


def test_large_images_are_decoded_one_by_one(prior, monkeypatch):
    x0 = torch.randn(3, *prior.latent_shape(32), generator=torch.Generator().manual_seed(0))
    together = prior.decode(x0)
    monkeypatch.setattr(diffusers_prior, "SMALL_GRAPH_BYTES", 0)
    at_once = []
    decode = prior._latents.decode
    monkeypatch.setattr(prior._latents, "decode", lambda some: at_once.append(len(some)) or decode(some))
    torch.testing.assert_close(prior.decode(x0), together, rtol=1e-5, atol=1e-6)
    assert at_once == [1, 1, 1]


def test_a_graph_in_parts_and_in_16_bits(prior, images, monkeypatch):
    monkeypatch.setattr(diffusers_prior, "SMALL_GRAPH_BYTES", 0)
    x0, gradient, _ = encoded(prior, images)
    prior.save_memory(("graphs again", "graphs in parts"))
    in_parts = encoded(prior, images)
    assert torch.equal(in_parts[0], x0)
    torch.testing.assert_close(in_parts[1], gradient, rtol=1e-5, atol=1e-6)
    prior.save_memory(("graphs again", "graphs in parts", "16 bits"))
    in_16_bits = encoded(prior, images)
    prior.save_memory(())
    assert in_16_bits[0].dtype == torch.float32
    assert 0.0 < (in_16_bits[0] - x0).norm() < 0.05 * x0.norm()
    assert (in_16_bits[1] - gradient).norm() < 0.2 * gradient.norm()
