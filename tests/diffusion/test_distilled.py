"""Models that were distilled to a few steps are recognised, and a person is told which to take instead."""

import json

import pytest
from headers import SDXL, write_file

from sdi_engine.contract.request import Lora
from sdi_engine.diffusion.distilled import about_loras, check_noise, distilled, word_for_few_steps
from sdi_engine.diffusion.families import FAMILIES, FLUX, FLUX2_KLEIN
from sdi_engine.diffusion.model_index import checked_pipeline
from sdi_engine.errors import BadInputError


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("sdxl-turbo", "turbo"),
        ("juggernautXL_v9Rdphoto2Lightning", "Lightning"),
        ("dreamshaper_8LCM", "LCM"),
        ("sdxl_lcm_unet", "LCM"),
        ("Hyper-SDXL-8steps", "Hyper"),
        ("FLUX.1-schnell", "schnell"),
        ("sdxl_unet_4step", "4step"),
        ("FLUX.2-klein-4B-distilled", "distilled"),
        ("Chroma1-Flash", "Flash"),
        ("FLUX.1-dev", ""),
        ("flux-dev-de-distill", ""),
        ("hyperrealism_xl", ""),
        ("calcmodel", ""),
        ("sd_xl_base_1.0", ""),
        ("mymodel-step20000", ""),
    ],
)
def test_names(name, word):
    assert word_for_few_steps(name) == word


def write_folder(folder, transformer, scheduler, **index):
    parts = {"transformer": "FluxTransformer2DModel", "scheduler": "FlowMatchEulerDiscreteScheduler"}
    parts |= {"vae": "AutoencoderKL"}
    texts = {"text_encoder": "CLIPTextModel", "tokenizer": "CLIPTokenizer"}
    texts |= {"text_encoder_2": "T5EncoderModel", "tokenizer_2": "T5TokenizerFast"}
    index |= {"_class_name": "FluxPipeline"} | {part: ["diffusers", kind] for part, kind in parts.items()}
    index |= {part: ["transformers", kind] for part, kind in texts.items()}
    files = {"transformer/config.json": transformer, "scheduler/scheduler_config.json": scheduler}
    for name, content in (files | {"model_index.json": index}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def test_schnell_is_told_from_dev_by_its_configuration(tmp_path):
    schnell = write_folder(tmp_path / "mine", {"guidance_embeds": False}, {"use_dynamic_shifting": False})
    with pytest.raises(BadInputError) as refused:
        check_noise("inversion", str(schnell))
    assert "was distilled to a few steps (by its configuration)" in str(refused.value)
    assert 'choose FLUX.1 dev or Chroma, or the noise "random", which is score distillation (SDS)' in str(refused.value)
    check_noise("random", str(schnell))
    check_noise("inversion", str(write_folder(tmp_path / "dev", {"guidance_embeds": True}, {})))
    undone = write_folder(tmp_path / "undone", {"guidance_embeds": False}, {"use_dynamic_shifting": True})
    check_noise("inversion", str(undone))


def test_what_a_model_says_of_itself_comes_first(tmp_path):
    folder = write_folder(tmp_path / "a-turbo", {"guidance_embeds": True}, {})
    with pytest.raises(BadInputError, match=r'by its name, "turbo".*write \{"is_distilled": false\}'):
        check_noise("cached-3d", str(folder))
    (folder / "sdi_engine.json").write_text('{"is_distilled": false}')
    check_noise("cached-3d", str(folder))


def test_a_consistency_model_is_told_by_its_scheduler(tmp_path):
    folder = write_folder(tmp_path / "mine", {"guidance_embeds": True}, {})
    index = {"scheduler": ["diffusers", "LCMScheduler"]}
    found = distilled(str(folder), FLUX, folder, index)
    assert found is not None
    assert "by its configuration" in found.refusal


def test_a_single_file_and_a_model_on_the_hub_are_told_by_their_names(tmp_path):
    file = write_file(tmp_path / "dreamshaperXL_turbo.safetensors", SDXL)
    with pytest.raises(BadInputError, match=r"If it is not distilled: rename its file"):
        check_noise("inversion", str(file))
    with pytest.raises(BadInputError, match="choose the model that it was made from, or the noise"):
        check_noise("inversion", "stabilityai/sd-turbo")
    check_noise("inversion", "turbo-studio/dreams")


def test_a_lora_for_few_steps_is_named(tmp_path):
    loras = [Lora("/loras/Qwen-Image-Lightning-8steps.safetensors"), Lora("/loras/clay.safetensors")]
    assert len(about_loras(loras)) == 1
    assert 'the LoRA "Qwen-Image-Lightning-8steps.safetensors" is for few steps' in about_loras(loras)[0]
    assert about_loras([Lora("/loras/lcm.safetensors", 0.0)]) == []


def test_every_family_says_what_to_take_instead():
    assert all(family.base != "the model that it was made from" for family in FAMILIES)


def test_flux2_klein_says_that_it_is_distilled(tmp_path):
    found = [distilled(str(tmp_path), FLUX2_KLEIN, tmp_path, {"is_distilled": said}) for said in (True, False)]
    assert found[0] is not None
    assert "choose FLUX.2 klein base, or the noise" in found[0].refusal
    assert found[1] is None


def test_pipelines_of_distilled_models_are_refused_with_their_base_models():
    with pytest.raises(BadInputError, match=r"was distilled to a few steps.*Choose Sana 1\.5, without Sprint\."):
        checked_pipeline("sprint", {"_class_name": "SanaSprintPipeline"})
