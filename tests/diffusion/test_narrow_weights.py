"""Weights in 16 bits on a processor that computes in 32: half the memory, and the same numbers."""

import pytest
import torch
from original_layout import write_single_file
from safetensors.torch import load_file, save_file
from tiny_models import write_lora, write_sd3, write_stable_diffusion

from sdi_engine.contract.request import Lora
from sdi_engine.diffusion import weight_bytes
from sdi_engine.diffusion.header import Entry
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.narrow_weights import NarrowWeight
from sdi_engine.diffusion.weight_bytes import narrow_kind

CPU = torch.device("cpu")


def halved(folder, dtype):
    for file in folder.rglob("*.safetensors"):
        save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    flow = halved(write_sd3(folder / "sd3"), torch.bfloat16)
    unet = halved(write_stable_diffusion(folder / "sd1"), torch.float16)
    (folder / "single").mkdir()
    file = write_single_file(unet, folder / "single" / "file.safetensors")
    halved(folder / "single", torch.float16)
    return {"folder": unet, "flow": flow, "file": file}


def bytes_in_memory(prior):
    tensors = (*prior._denoiser.parameters(), *prior._denoiser.buffers())
    return sum(tensor.nbytes for tensor in tensors)


def asked(prior):
    """A prediction, and the gradient of one with respect to x."""
    x = torch.randn(2, *prior.latent_shape(16), generator=torch.Generator().manual_seed(0)).requires_grad_()
    prediction = prior.predict(x, torch.full((2,), 0.6), prior.condition(["a mug", "a car"]), 3.0)
    prediction.x0.square().sum().backward()
    return prediction.x0.detach(), x.grad


@pytest.mark.parametrize("kind", ["folder", "flow", "file"])
def test_half_the_memory_and_the_same_numbers(models, kind, monkeypatch):
    wide = load_prior(str(models[kind]), CPU)
    monkeypatch.setattr(weight_bytes, "LARGE_BYTES", 0)
    narrow = load_prior(str(models[kind]), CPU)
    assert any(isinstance(each, NarrowWeight) for each in narrow._denoiser.modules())
    assert bytes_in_memory(narrow) < 0.6 * bytes_in_memory(wide)
    for one, other in zip(asked(wide), asked(narrow), strict=True):
        assert torch.equal(one, other)


def test_packed_on_loading_as_from_32_bits(models, monkeypatch):
    wide = load_prior(str(models["flow"]), CPU, bits="8-bit")
    monkeypatch.setattr(weight_bytes, "LARGE_BYTES", 0)
    narrow = load_prior(str(models["flow"]), CPU, bits="8-bit")
    assert wide.packed == narrow.packed == "8-bit"
    for one, other in zip(asked(wide), asked(narrow), strict=True):
        assert torch.equal(one, other)


def test_where_a_lora_is_added_all_is_widened(models, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_bytes, "LARGE_BYTES", 0)
    lora = Lora(str(write_lora(tmp_path / "lora.safetensors", models["folder"])), 0.5)
    prior = load_prior(str(models["folder"]), CPU, [lora])
    assert not any(isinstance(each, NarrowWeight) for each in prior._denoiser.modules())


def test_small_models_and_those_in_32_bits_are_widened():
    large, small = Entry("F16", (2**14, 2**15)), Entry("F16", (2**10, 2**10))
    assert narrow_kind({"weight": large}) == "F16"
    assert narrow_kind({"weight": small}) == ""
    assert narrow_kind({"weight": Entry("BF16", large.shape), "norm": small}) == "BF16"
    assert narrow_kind({"weight": Entry("F32", large.shape)}) == ""
