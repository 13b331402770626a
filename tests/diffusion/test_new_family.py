"""A new family: with one entry in the table and one prior its models load like all others."""

import dataclasses
import json

import pytest
import torch
from headers import SD1, write_file
from original_layout import write_single_file
from safetensors.torch import load_file, save_file
from tiny_models import tiny_tokenizer, write_stable_diffusion

from sdi_engine.config.parameters import NO_PARTS
from sdi_engine.contract.request import Lora
from sdi_engine.diffusion import families, single_file
from sdi_engine.diffusion.families import DENOISER, TextEncoder
from sdi_engine.diffusion.families import SD1 as STABLE_DIFFUSION
from sdi_engine.diffusion.header import lora_family
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.parts import check
from sdi_engine.diffusion.unet_prior import UNetPrior
from sdi_engine.errors import BadInputError

CPU = torch.device("cpu")
PIPELINE = "StableDiffusionPAGPipeline"
DREAM_ENCODER = "dream_encoder."


class DreamPrior(UNetPrior):
    """It draws every prompt in grey."""

    def decode(self, x0):
        return super().decode(x0).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)


DREAM = dataclasses.replace(
    STABLE_DIFFUSION,
    name="dream",
    label="Dream 1",
    pipeline=PIPELINE,
    prior=DreamPrior,
    text_encoders=(TextEncoder("text_encoder", "tokenizer", DREAM_ENCODER),),
    text_width=333,
    may_predict_velocity=False,
    refused=((r"nightmare\..*", "is a nightmare, from which nothing is made"),),
    loras=r"dream_blocks",
)


@pytest.fixture(autouse=True)
def dream(monkeypatch):
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, DREAM))


def write_dream(folder):
    """A model of the new family, as a folder in Diffusers layout."""
    index = write_stable_diffusion(folder) / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": PIPELINE}))
    return folder


def in_its_own_words(tensors):
    return {name.replace("cond_stage_model.transformer.", DREAM_ENCODER): tensor for name, tensor in tensors.items()}


def test_its_header_is_recognised_and_refusals_name_it(tmp_path):
    file = write_file(tmp_path / "dream.safetensors", in_its_own_words(SD1))
    assert check(str(file), NO_PARTS).family.label == "Dream 1"
    file = write_file(tmp_path / "bad.safetensors", in_its_own_words(SD1) | {"nightmare.weight": (1,)})
    with pytest.raises(BadInputError, match=r"is a nightmare.*Sana or Dream 1"):
        check(str(file), NO_PARTS)
    file = write_file(tmp_path / "half.safetensors", {name: shape for name, shape in SD1.items() if "cond" not in name})
    with pytest.raises(BadInputError, match="lacks its text encoder"):
        check(str(file), NO_PARTS)


def test_a_folder_is_loaded_with_its_prior(tmp_path):
    prior = load_prior(str(write_dream(tmp_path / "dream")), CPU)
    assert type(prior) is DreamPrior
    image = prior.decode(torch.randn(1, *prior.latent_shape(16), generator=torch.Generator().manual_seed(0)))
    assert torch.equal(image[:, 0], image[:, 2])


@pytest.mark.parametrize("companion", [True, False])
def test_a_single_file_is_loaded_with_its_configuration(companion, tmp_path, monkeypatch):
    monkeypatch.setattr(families, "CONFIGS", write_dream(tmp_path / "configs" / "dream").parent)
    monkeypatch.setattr(single_file, "clip_tokenizer", lambda pad_token: tiny_tokenizer(tmp_path / "words"))
    file = write_single_file(tmp_path / "configs" / "dream", tmp_path / "found.safetensors")
    save_file(in_its_own_words(load_file(file)), file)
    index = file.with_suffix("") / "model_index.json"
    if companion:
        index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": PIPELINE}))
    else:
        index.unlink()
    prior = load_prior(str(file), CPU)
    assert type(prior) is DreamPrior
    x, t = torch.ones(1, 4, 8, 8), torch.tensor([0.5])
    whole = load_prior(str(tmp_path / "configs" / "dream"), CPU)
    with torch.no_grad():
        torch.testing.assert_close(
            prior.predict_unguided(x, t, prior.text(["a"])).noise, whole.predict_unguided(x, t, whole.text(["a"])).noise
        )


def test_its_loras_are_distinguished_from_others(tmp_path):
    assert lora_family({"lora_unet_dream_blocks_0.lora_up.weight": (4, 4)}) == "Dream 1"
    assert lora_family({f"{DENOISER}attn2.to_k.lora_down.weight": (4, 333)}) == "Dream 1"
    layer = "lora_unet_joint_blocks_0_x_block_attn_qkv"
    save_file(
        {f"{layer}.lora_up.weight": torch.ones(4, 2), f"{layer}.lora_down.weight": torch.ones(2, 4)},
        tmp_path / "other.safetensors",
    )
    with pytest.raises(BadInputError, match=r"does not fit this Dream 1 model \(it was trained for SD 3\)"):
        load_prior(str(write_dream(tmp_path / "dream")), CPU, [Lora(str(tmp_path / "other.safetensors"))])
