import json
import shutil

import pytest
import torch
from tiny_models import write_stable_diffusion

from sdi_engine.diffusion.loading import load_prior
from sdi_engine.errors import BadInputError, EnvironmentMissingError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def latent_model(tmp_path_factory):
    return write_stable_diffusion(tmp_path_factory.mktemp("models") / "latent")


@pytest.fixture(scope="module")
def pixel_model(tmp_path_factory):
    return write_stable_diffusion(tmp_path_factory.mktemp("models") / "pixel", "v_prediction", vae=False)


def test_latent_model(latent_model):
    prior = load_prior(str(latent_model), CPU)
    assert prior.resolution == 16
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    x0 = prior.encode(images)
    assert x0.shape == (2, 4, 8, 8)
    assert prior.decode(x0.detach()).shape == (2, 3, 16, 16)
    x0.sum().backward()
    assert images.grad.abs().sum() > 0


def test_pixel_model_encodes_without_loss(pixel_model):
    prior = load_prior(str(pixel_model), CPU)
    assert prior.resolution == 16
    images = torch.rand(1, 3, 16, 16)
    assert prior.encode(images).shape == (1, 12, 8, 8)
    torch.testing.assert_close(prior.decode(prior.encode(images)), images)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_noise_prediction_is_what_diffusers_scheduler_steps_with(prediction_type, tmp_path):
    """The noise and x0 that we find of a model's output are those of Diffusers' own DDIM step."""
    from diffusers import StableDiffusionPipeline

    folder = write_stable_diffusion(tmp_path / "model", prediction_type, vae=False)
    prior = load_prior(str(folder), CPU)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, vae=None)
    conditioning = prior.condition(["a red mug"])
    x = torch.randn(1, pipeline.unet.config.in_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    timestep = torch.tensor([600])
    with torch.no_grad():
        output = pipeline.unet(x, timestep, conditioning.prompt).sample
    pipeline.scheduler.set_timesteps(1000)
    expected = pipeline.scheduler.step(output, 600, x).pred_original_sample
    t = torch.tensor([0.6])
    noise = prior.predict_unguided(x, t, conditioning.prompt)
    a, b = prior.scales(t)
    torch.testing.assert_close((x - b * noise) / a, expected, atol=1e-4, rtol=1e-4)


def test_guidance_is_equation_3(latent_model):
    prior = load_prior(str(latent_model), CPU)
    conditioning = prior.condition(["a mug", "a car"], "ugly")
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.7])
    negative = prior.predict_noise(x, t, conditioning, 0.0)
    positive = prior.predict_noise(x, t, conditioning, 1.0)
    assert (negative - positive).abs().max() > 1e-4
    for gamma in (7.5, -7.5):
        guided = prior.predict_noise(x, t, conditioning, gamma)
        torch.testing.assert_close(guided, negative + gamma * (positive - negative), atol=1e-4, rtol=1e-4)


def test_hints_beside_the_model_are_read(pixel_model, tmp_path):
    folder = shutil.copytree(pixel_model, tmp_path / "hinted")
    (folder / "sdi_engine.json").write_text(json.dumps({"guidance_scale": 2.5, "knows": {"things": ["mug"]}}))
    prior = load_prior(str(folder), CPU)
    assert prior.hints.guidance_scale == 2.5
    assert prior.unknown_words("a mug") == ["mug"]  # the tiny tokenizer has a token for "a" only

    (folder / "sdi_engine.json").write_text("{")
    with pytest.raises(BadInputError, match="damaged"):
        load_prior(str(folder), CPU)


def test_what_is_no_model(tmp_path, latent_model):
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        load_prior(str(tmp_path / "nothing" / "here"), CPU)
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        load_prior("nothing.safetensors", CPU)
    with pytest.raises(BadInputError, match=r"no model_index\.json"):
        load_prior(str(tmp_path), CPU)
    pickle = tmp_path / "model.ckpt"
    pickle.write_bytes(b"\x80\x04.")
    with pytest.raises(BadInputError, match="safetensors"):
        load_prior(str(pickle), CPU)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a tensor")
    with pytest.raises(BadInputError, match="cannot be loaded"):
        load_prior(str(damaged), CPU)
    broken = shutil.copytree(latent_model, tmp_path / "broken")
    next(broken.glob("unet/*.safetensors")).write_bytes(b"not a tensor")
    with pytest.raises(BadInputError, match="cannot be loaded"):
        load_prior(str(broken), CPU)


def test_pickled_weights_are_refused(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "pickled")
    weights = next(folder.glob("unet/*.safetensors"))
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(BadInputError, match="cannot be loaded"):
        load_prior(str(folder), CPU)


def test_hub_id_while_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EnvironmentMissingError, match="neither on this machine"):
        load_prior("nobody/nothing", CPU)
