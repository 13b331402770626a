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


def test_a_vae_that_overflows_in_16_bits_works_in_32(prior, images, monkeypatch, caplog):
    """As on graphics cards, where bfloat16 is the rule: never a black picture."""
    x0, gradient, _ = encoded(prior, images)
    monkeypatch.setattr(prior, "_encodes_fast_in_16_bits", True)
    in_16_bits = encoded(prior, images)
    assert 0.0 < (in_16_bits[0] - x0).norm() < 0.05 * x0.norm()
    encode = prior._latents.encode
    overflow = {True: torch.inf, False: 1.0}
    monkeypatch.setattr(
        prior._latents, "encode", lambda some: encode(some) * overflow[torch.is_autocast_enabled("cpu")]
    )
    rescued = encoded(prior, images)
    assert torch.equal(rescued[0], x0)
    assert torch.equal(rescued[1], gradient)
    assert "overflows in 16 bits" in caplog.text
    monkeypatch.setattr(prior, "_overflows", False)


def test_an_image_for_which_memory_is_short_is_decoded_in_tiles(prior, monkeypatch):
    x0 = torch.randn(1, *prior.latent_shape(64), generator=torch.Generator().manual_seed(0))
    whole = prior.decode(x0)
    monkeypatch.setattr(diffusers_prior, "SMALL_GRAPH_BYTES", 0)
    monkeypatch.setattr(diffusers_prior, "free_bytes", lambda device: 2**10)
    monkeypatch.setattr(diffusers_prior, "TILE", 16)
    sides = []
    decoder = prior._vae.decoder.forward
    monkeypatch.setattr(prior._vae.decoder, "forward", lambda x, *more: sides.append(x.shape[-1]) or decoder(x, *more))
    in_tiles = prior.decode(x0)
    assert in_tiles.shape == whole.shape
    assert len(sides) > 4
    assert max(sides) == 16
    assert (in_tiles - whole).abs().mean() < 0.1
    assert not prior._vae.use_tiling
