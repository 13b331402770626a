import shutil

import pytest
import torch
from original_layout import write_single_file
from safetensors.torch import load_file, save_file
from tiny_models import write_lora, write_sd3, write_sdxl, write_stable_diffusion

from sdi_engine.contract.request import Lora
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.prior import NegativePrompt
from sdi_engine.errors import BadInputError

CPU = torch.device("cpu")
PROMPTS = ["a mug", "a car, side view", NegativePrompt("ugly"), ""]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    sd3 = write_sd3(folder / "sd3", t5=True)
    return {"folder": sd3, "file": write_single_file(write_sdxl(folder / "sdxl"), folder / "file.safetensors")}


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_text_encoders_are_read_when_there_is_a_text_and_again_after_they_were_freed(kind, models):
    prior = load_prior(str(models[kind]), CPU)
    assert not prior.text_encoders.are_loaded
    before = prior.text(PROMPTS)
    prior.free_text_encoders()
    assert not prior.text_encoders.are_loaded
    prior.text(PROMPTS)
    assert not prior.text_encoders.are_loaded  # what was read is not read again
    prior.texts_read = {}
    after = prior.text(PROMPTS)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_of_two_precisions_the_text_encoder_is_read_in_that_of_the_denoiser(models, tmp_path):
    folder = shutil.copytree(models["folder"], tmp_path / "both")
    for file in [*folder.glob("text_encoder*/model.safetensors")]:
        halves = {name: tensor.half().zero_() for name, tensor in load_file(file).items()}
        save_file(halves, file.with_name("model.fp16.safetensors"), {"format": "pt"})
    before, after = (load_prior(str(model), CPU).text(PROMPTS) for model in (models["folder"], folder))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_denoiser_stays_where_it_is_when_encoders_are_read_again(models, monkeypatch):
    prior = load_prior(str(models["folder"]), CPU)
    prior.text(["a mug"])
    denoiser = [(parameter.data_ptr(), parameter.sum().item()) for parameter in prior._denoiser.parameters()]
    prior.free_text_encoders()
    prior.text(["a car"])
    assert [(parameter.data_ptr(), parameter.sum().item()) for parameter in prior._denoiser.parameters()] == denoiser


def test_text_encoders_are_on_the_graphics_card_only_while_they_read(models, monkeypatch):
    prior = load_prior(str(models["file"]), CPU)
    places = []
    monkeypatch.setattr(prior.text_encoders, "_rests", True)
    monkeypatch.setattr(prior.text_encoders, "_device", torch.device("cuda"))
    monkeypatch.setattr(prior.text_encoders, "_move", lambda device: places.append(device.type))
    monkeypatch.setattr(prior, "_encode", lambda prompt: places.append(prompt) or {"embedding": torch.zeros(1, 8, 4)})
    prior.text(["a mug", "a mug", "a car"])
    assert places == ["cuda", "a mug", "a car", "cpu"]
    prior.text(["a car"])
    assert len(places) == 4  # what has been read is not read again


def test_a_lora_changes_the_encoders_whenever_they_are_read_and_the_denoiser_once(tmp_path, lora_of_encoder):
    model, lora = lora_of_encoder
    plain, changed = load_prior(str(model), CPU), load_prior(str(model), CPU, [lora])
    first = changed.text(["a mug"])["embedding"]
    assert not torch.equal(first, plain.text(["a mug"])["embedding"])
    denoiser = [parameter.clone() for parameter in changed._denoiser.parameters()]
    changed.free_text_encoders()
    changed.texts_read = {}
    assert torch.equal(first, changed.text(["a mug"])["embedding"])
    assert all(map(torch.equal, denoiser, changed._denoiser.parameters()))


def test_the_identity_of_texts_follows_from_the_files_and_the_loras(lora_of_encoder):
    model, lora = lora_of_encoder
    plain = load_prior(str(model), CPU).text_identity
    assert plain == load_prior(str(model), CPU).text_identity
    assert load_prior(str(model), CPU, [lora]).text_identity not in (plain, "")


def test_a_damaged_text_encoder_is_named_when_it_is_read(models, tmp_path):
    model = write_stable_diffusion(tmp_path / "model")
    prior = load_prior(str(model), CPU)
    (file,) = (model / "text_encoder").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInputError, match=r"model .*damaged"):
        prior.text(["a mug"])


@pytest.fixture
def lora_of_encoder(tmp_path):
    from safetensors.torch import load_file, save_file

    model = write_stable_diffusion(tmp_path / "model")
    file = write_lora(tmp_path / "lora.safetensors", model)
    prefix = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    weight = next(
        tensor
        for name, tensor in load_file(next((model / "text_encoder").glob("*.safetensors"))).items()
        if name.endswith("layers.0.self_attn.q_proj.weight")
    )
    rows, columns = weight.shape
    generator = torch.Generator().manual_seed(1)
    more = {
        f"{prefix}.lora_up.weight": torch.randn(rows, 2, generator=generator),
        f"{prefix}.lora_down.weight": torch.randn(2, columns, generator=generator),
    }
    save_file(load_file(file) | more, file)
    return model, Lora(str(file), 0.5)
