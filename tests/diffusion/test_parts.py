"""Denoiser, VAE and text encoders from files of their own: as distributed, they come to what the folder comes to."""

import argparse
import dataclasses
import json
import shutil

import diffusers
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, DiffusionPipeline
from diffusers.loaders import single_file_utils
from gguf_files import write_k_quants
from headers import QWEN, SD1, Z_IMAGE, write_file
from original_layout import renamed, write_single_file
from packed_files import FORMATS
from safetensors.torch import load_file, save_file
from sentencepiece_files import sentencepiece_bytes
from separate_parts import original_vae, write_separately
from tiny_flux import write_chroma, write_flux
from tiny_language_models import write_flux2_klein, write_qwen_image, write_sana, write_z_image
from tiny_models import tiny_tokenizer, write_sd3, write_sdxl, write_stable_diffusion
from wide_models import write_wide

from sdi_engine.cli import commands as cli
from sdi_engine.cli.options import add_options, request_of
from sdi_engine.config.parameters import NO_PARTS, Parts
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import families, parts, single_file
from sdi_engine.diffusion.distilled import check_noise
from sdi_engine.diffusion.families import DENOISER
from sdi_engine.diffusion.header import weight_files
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.needs import weigh
from sdi_engine.diffusion.sentencepiece_model import BPE
from sdi_engine.errors import BadInputError

CPU = torch.device("cpu")
WRITERS = {
    "flux": write_flux,
    "chroma": write_chroma,
    "z-image": write_z_image,
    "flux2-klein": write_flux2_klein,
    "qwen-image": write_qwen_image,
    "sana": write_sana,
    "sdxl": write_sdxl,
    "sd3": lambda folder: write_sd3(folder, version=3.5),
}
WIDE = {"flux in blocks of 256": lambda folder: write_wide("FLUX.1 in blocks of 256", folder)}
CONVERTERS = {
    "z-image": single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers,
    "flux2-klein": single_file_utils.convert_flux2_transformer_checkpoint_to_diffusers,
    "sana": single_file_utils.convert_sana_transformer_to_diffusers,
}


BILLIONS = {"flux": 11.9, "chroma": 8.9, "z-image": 6.15, "flux2-klein": 3.88, "qwen-image": 20.43, "sana": 1.6}
"""Parameters of the denoisers, by family; their model cards say 12, 8.9, 6, 4, 20 and 1.6."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny models by family, each written when it is asked for."""

    class Models(dict):
        def __missing__(self, name):
            self[name] = (WRITERS | WIDE)[name](tmp_path_factory.mktemp("models") / name.partition(" ")[0])
            return self[name]

    return Models()


@pytest.fixture
def shipped(models, monkeypatch, tmp_path):
    """Makes the tiny model's configurations the shipped ones, without what these do not have."""

    def ship(name):
        for source in models[name].rglob("*.json"):
            if not source.parent.name.startswith("tokenizer"):
                target = tmp_path / "shipped" / models[name].name / source.relative_to(models[name])
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
        monkeypatch.setattr(families, "CONFIGS", tmp_path / "shipped")
        monkeypatch.setattr(single_file, "clip_tokenizer", lambda pad_token: tiny_tokenizer(tmp_path / "words"))
        return models[name]

    return ship


def assert_same(prior, other):
    """Check that two priors have the same weights, bit for bit, and read the same."""
    for key, tensor in other.text(["a red mug"]).items():
        assert torch.equal(prior.text(["a red mug"])[key], tensor)
    for name, part in other._pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            ours, theirs = prior._pipeline.components[name].state_dict(), part.state_dict()
            ours = {key: tensor for key, tensor in ours.items() if key != "lm_head.weight"}
            assert ours.keys() == theirs.keys() - {"lm_head.weight"}
            assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())
            assert len(ours) > 5


@pytest.mark.parametrize(
    ("name", "prefix"),
    [*((name, "") for name in WRITERS), ("flux", DENOISER), ("z-image", DENOISER)],
)
def test_separate_files_come_to_what_the_folder_comes_to(name, prefix, shipped, tmp_path):
    folder = shipped(name)
    model, given = write_separately(folder, tmp_path, prefix)
    assert_same(load_prior(str(model), CPU, (), given), load_prior(str(folder), CPU))


@pytest.mark.parametrize("name", ["flux", "z-image", "sdxl"])
def test_the_folder_of_a_denoiser_alone(name, shipped, tmp_path):
    """In Diffusers layout, its weights in several files."""
    folder = shipped(name)
    _, given = write_separately(folder, tmp_path)
    whole = DiffusionPipeline.from_pretrained(folder)
    part = "unet" if name == "sdxl" else "transformer"
    alone = tmp_path / "dream" / part
    getattr(whole, part).save_pretrained(alone, max_shard_size="20KB")
    assert len(weight_files(alone)) > 1
    assert_same(load_prior(str(alone), CPU, (), given), load_prior(str(folder), CPU))
    assert network_sizes(weigh(str(alone), given)) == network_sizes(weigh(str(folder)))
    weight_files(alone)[1].unlink()
    with pytest.raises(BadInputError, match=r"lacks \"diffusion_pytorch_model-00002-of-.*download the model again"):
        parts.check(str(alone), given)


def network_sizes(weights):
    return {part: sizes["cpu"] for part, sizes in weights.parts.items()}


@pytest.mark.parametrize("name", CONVERTERS)
def test_our_names_are_those_of_diffusers_own_converters(name, models):
    transformer = DiffusionPipeline.from_pretrained(models[name]).transformer
    family = next(family for family in families.FAMILIES if family.name == name)
    original = renamed(transformer, family.layout(transformer, ""))
    unused = {"pos_embed": torch.zeros(1), "y_embedder.y_embedding": torch.zeros(1)} if name == "sana" else {}
    converted = CONVERTERS[name](original | unused)
    own = transformer.state_dict()
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[key], tensor) for key, tensor in own.items())


def test_our_names_of_a_video_vae_are_those_of_diffusers_own_converter():
    vae = AutoencoderKLQwenImage(base_dim=8)  # with as many blocks as the real one, which the converter counts on
    converted = single_file_utils.convert_wan_vae_to_diffusers(original_vae(vae))
    own = vae.state_dict()
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[key], tensor) for key, tensor in own.items())


def test_a_file_with_everything(shipped, tmp_path):
    """As ComfyUI's checkpoints, with the VAE and the text encoders beside the denoiser in one file."""
    folder = shipped("flux")
    model, given = write_separately(folder, tmp_path, DENOISER)
    tensors = load_file(model) | {f"vae.{name}": tensor for name, tensor in load_file(given.vae).items()}
    for file, name in zip(given.text_encoders, ("clip_l", "t5xxl"), strict=True):
        tensors |= {f"text_encoders.{name}.transformer.{key}": tensor for key, tensor in load_file(file).items()}
    save_file(tensors, tmp_path / "all.safetensors")
    tokenizer = str(folder / "tokenizer_2")
    prior = load_prior(str(tmp_path / "all.safetensors"), CPU, (), Parts(tokenizer=tokenizer))
    assert_same(prior, load_prior(str(folder), CPU))


COARSE = {"mesh_resolution": 16, "samples_per_ray": 8, "occupancy_resolution": 8}
QUICK = [word for name, value in COARSE.items() for word in ("--set", f"{name}={value}")]
QUICK += ["--preset", "draft", "--texture-size", "64", "--face-budget", "500"]


@pytest.mark.usefixtures("small_pictures")
@pytest.mark.parametrize("how", ["fp8 scaled", "fp8 e4m3", "K-quants", "4-bit"])
def test_the_command_line_with_separate_files(how, shipped, tmp_path):
    """They are found where ComfyUI has them; a job names them, and goes on with the same."""
    model, given = write_separately(
        shipped("z-image" if "fp8" in how else "flux in blocks of 256"), tmp_path / "models"
    )
    if how in FORMATS:
        FORMATS[how](load_file(model), model)
    elif how == "K-quants":
        tensors = load_file(model)
        model.unlink()
        write_k_quants(model := model.with_suffix(".gguf"), tensors)
    few = ["--steps", "2", "--resolution", "32", "--model", str(model), "--device", "cpu"]
    few += ["--precision", how] if how == "4-bit" else []
    precision = how if how == "4-bit" else "full"
    if how != "fp8 e4m3":
        assert cli.main(["sample", "a mug", "-o", str(tmp_path / "sample"), "--count", "1", *few]) == 0
    assert cli.main(["distill2d", "a mug", "-o", str(tmp_path / "distilled"), *few]) == 0
    distilled = json.loads((tmp_path / "distilled" / "result.json").read_text())
    assert distilled["largest_difference"] <= 1e-4
    assert distilled.get("precision", "full") == precision
    if how == "fp8 e4m3":
        return
    job = tmp_path / "job"
    assert cli.main(["generate", "a mug", "-o", str(job), *few, *QUICK]) == 0
    result = json.loads((job / "result.json").read_text())
    assert result["precision"] == precision
    assert result["parts"] == json.loads(json.dumps(dataclasses.asdict(given)))
    (job / "result.json").unlink()
    assert cli.main(["resume", str(job)]) == 0
    assert json.loads((job / "result.json").read_text())["parts"] == result["parts"]


def test_parts_as_folders_and_instead_of_a_models_own(models, shipped, tmp_path):
    folder = shipped("z-image")
    model, given = write_separately(folder, tmp_path)
    as_folders = Parts(str(folder / "vae"), (str(folder / "text_encoder"),))
    assert_same(load_prior(str(model), CPU, (), as_folders), load_prior(str(folder), CPU))
    other = tmp_path / "other.safetensors"
    save_file({name: tensor + 1.0 for name, tensor in load_file(given.vae).items()}, other)
    prior = load_prior(str(folder), CPU, (), Parts(vae=str(other)))
    bias = load_prior(str(folder), CPU)._pipeline.vae.decoder.conv_in.bias
    assert torch.equal(prior._pipeline.vae.decoder.conv_in.bias, bias + 1.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tensors: tensors.pop("decoder.conv_in.bias"), r"lacks \"decoder\.conv_in\.bias\""),
        (lambda tensors: tensors.update(more=torch.ones(1)), r"contains \"more\", for which it has no place"),
        (lambda tensors: tensors["decoder.conv_in.bias"].fill_(float("nan")), "NaN or infinite"),
    ],
    ids=["missing", "more", "nan"],
)
def test_a_vae_that_is_not_whole_is_refused(change, sentence, shipped, tmp_path):
    folder = shipped("z-image")
    model, given = write_separately(folder, tmp_path)
    tensors = load_file(given.vae)
    change(tensors)
    save_file(tensors, given.vae)
    with pytest.raises(BadInputError, match=sentence):
        load_prior(str(model), CPU, (), given)


@pytest.mark.parametrize("name", ["z-image", "flux"])
def test_a_text_encoder_that_is_not_whole_is_refused_before_the_transformer_is_read(
    name, shipped, tmp_path, monkeypatch
):
    model, given = write_separately(shipped(name), tmp_path)
    tensors = load_file(given.text_encoders[0])
    save_file(dict(list(tensors.items())[:-1]), given.text_encoders[0])
    monkeypatch.setattr(single_file, "open_tensors", None)  # nothing of the model has been read by then
    with pytest.raises(BadInputError, match=r"The text encoder in .* lacks \""):
        load_prior(str(model), CPU, (), given)


def test_a_tokenizer_that_is_missing_or_of_another_model(shipped, tmp_path):
    folder = shipped("z-image")
    model, given = write_separately(folder, tmp_path)
    (tokenizer,) = (path for path in (tmp_path / "text_encoders").iterdir() if path.is_dir())
    shutil.move(tokenizer, tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match=r"needs its tokenizer, .*tokenizer of Tongyi-MAI/Z-Image.*beside it"):
        parts.check(str(model), given)
    alone = Parts(given.vae, given.text_encoders, str(tmp_path / "elsewhere" / "tokenizer.json"))
    prior, whole = load_prior(str(model), CPU, (), alone), load_prior(str(folder), CPU)
    assert torch.equal(prior.text(["a mug"])["embedding"], whole.text(["a mug"])["embedding"])
    (tmp_path / "elsewhere" / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"The tokenizer in .* cannot be loaded"):
        load_prior(str(model), CPU, (), alone)
    (tmp_path / "elsewhere" / "tokenizer_config.json").unlink()  # by which it is known how it pads and chats
    with pytest.raises(BadInputError, match="needs its tokenizer"):
        parts.check(str(model), alone)


def test_a_tokenizer_in_the_file_of_its_text_encoder(shipped, tmp_path):
    """As ComfyUI's files of Gemma 2 have it."""
    folder = shipped("sana")
    model, given = write_separately(folder, tmp_path)
    (encoder,) = given.text_encoders
    tokenizer = DiffusionPipeline.from_pretrained(folder).tokenizer
    words = [(tokenizer.convert_ids_to_tokens(number), -1.0) for number in range(len(tokenizer))]
    data = sentencepiece_bytes(words, BPE, ("<pad>", "<eos>", "<bos>"))
    save_file(load_file(encoder) | {"spiece_model": torch.frombuffer(bytearray(data), dtype=torch.uint8)}, encoder)
    shutil.rmtree(tmp_path / "text_encoders" / "text_encoder")
    assert_same(load_prior(str(model), CPU, (), given), load_prior(str(folder), CPU))


# What the real files say in their headers.
QWEN3_4B = {
    "model.embed_tokens.weight": (151936, 2560),
    "model.layers.0.self_attn.q_norm.weight": (128,),
}
QWEN3_8B = {**QWEN3_4B, "model.embed_tokens.weight": (151936, 4096)}
QWEN25 = {"model.embed_tokens.weight": (152064, 3584), "model.layers.0.self_attn.q_proj.bias": (3584,)}
GEMMA2 = {
    "model.embed_tokens.weight": (256000, 2304),
    "model.layers.0.pre_feedforward_layernorm.weight": (2304,),
}
T5 = {"shared.weight": (32128, 4096), "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}
UMT5 = {**T5, "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight": (32, 64)}
CLIP_L = {"text_model.embeddings.token_embedding.weight": (49408, 768)}
CLIP_G = {"text_model.embeddings.token_embedding.weight": (49408, 1280)}
VAE_4 = {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}
VAE_16 = {"decoder.conv_in.weight": (512, 16, 3, 3)}
VAE_32 = {"decoder.conv_in.weight": (512, 32, 3, 3), "bn.running_mean": (128,)}
VAE_VIDEO = {"decoder.conv1.weight": (384, 16, 3, 3, 3), "decoder.middle.0.residual.0.gamma": (384, 1, 1, 1)}
VAE_DEEP = {"decoder.project_in.main.conv.weight": (1024, 32, 3, 3)}
NETWORKS = {
    "the text encoder Qwen 3 4B": QWEN3_4B,
    "the text encoder Qwen 3 8B": QWEN3_8B,
    "the text encoder Qwen 2.5 VL 7B": QWEN25,
    "the text encoder Gemma 2 2B": GEMMA2,
    "the text encoder T5-XXL": T5,
    "the text encoder CLIP-L": CLIP_L,
    "the text encoder CLIP-G": CLIP_G,
    "a VAE with 4 channels, as of Stable Diffusion 1, 2 and XL": VAE_4,
    "a VAE with 16 channels, as of Stable Diffusion 3, FLUX.1 and Z-Image": VAE_16,
    "a VAE with 32 channels, of FLUX.2": VAE_32,
    "a VAE with 16 channels, of Qwen-Image and Wan": VAE_VIDEO,
    "a VAE with 32 channels, of Sana": VAE_DEEP,
}
FLUX = {
    "double_blocks.0.img_mod.lin.weight": (18432, 3072),
    "img_in.weight": (3072, 64),
    "txt_in.weight": (3072, 4096),
    "vector_in.in_layer.weight": (3072, 768),
}
CHROMA = {
    "distilled_guidance_layer.in_proj.weight": (5120, 64),
    "img_in.weight": (3072, 64),
    "txt_in.weight": (3072, 4096),
}
KLEIN_4B = {
    "single_stream_modulation.lin.weight": (9216, 3072),
    "img_in.weight": (3072, 128),
    "txt_in.weight": (3072, 7680),
}
KLEIN_9B = {**KLEIN_4B, "img_in.weight": (4096, 128), "txt_in.weight": (4096, 12288)}
SANA = {
    "blocks.0.mlp.inverted_conv.conv.weight": (11200, 2240, 1, 1),
    "x_embedder.proj.weight": (2240, 32, 1, 1),
    "y_embedder.y_proj.fc1.weight": (2240, 2304),
}
SDXL = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "label_emb.0.0.weight": (1280, 2816),
}
SDXL_DIFFUSERS = {
    "conv_in.weight": (320, 4, 3, 3),
    "add_embedding.linear_1.weight": (1280, 2816),
    "up_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (1280, 2048),
}
SD15_DIFFUSERS = {
    "conv_in.weight": (320, 4, 3, 3),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
}
SD35 = {
    "x_embedder.proj.weight": (2432, 16, 2, 2),
    "joint_blocks.0.x_block.attn.qkv.weight": (7296, 2432),
    "context_embedder.weight": (2432, 4096),
}


ORIGINAL_DENOISERS = [
    (FLUX, "FLUX.1", ["ae", "clip_l", "t5xxl_fp16"]),
    (CHROMA, "Chroma", ["ae", "t5xxl_fp16"]),
    (Z_IMAGE, "Z-Image", ["ae", "qwen_3_4b"]),
    (KLEIN_4B, "FLUX.2 klein", ["flux2-vae", "qwen_3_4b"]),
    (KLEIN_9B, "FLUX.2 klein", ["flux2-vae", "qwen_3_8b_fp8mixed"]),
    (QWEN, "Qwen-Image", ["qwen_image_vae", "qwen_2.5_vl_7b"]),
    (SANA, "Sana", ["dc-ae-f32c32-sana-1.1", "gemma_2_2b_fp16"]),
    (SDXL, "SDXL", ["sdxl_vae", "clip_l", "clip_g"]),
    (SD35, "SD 3", ["", "clip_l", "clip_g"]),
]
"""With the family, and the files that are usually taken for what they lack."""


def prefixed(shapes):
    return {DENOISER + name: shape for name, shape in shapes.items()}


@pytest.mark.parametrize("label", NETWORKS)
def test_what_a_part_is_follows_from_its_header(label, tmp_path):
    file = write_file(tmp_path / "part.safetensors", NETWORKS[label])
    network = parts.network_at(file)
    assert network.label == label
    with pytest.raises(BadInputError):  # none of them is a model
        parts.plan(str(file), NO_PARTS)


@pytest.mark.parametrize(
    ("shapes", "family", "needed"),
    [
        *ORIGINAL_DENOISERS,
        *((prefixed(shapes), family, needed) for shapes, family, needed in ORIGINAL_DENOISERS),
        (SDXL_DIFFUSERS, "SDXL", ["sdxl_vae", "clip_l", "clip_g"]),
        (SD15_DIFFUSERS, "SD 1.x", ["vae-ft-mse-840000-ema-pruned", "clip_l"]),
    ],
)
def test_a_denoiser_alone_and_what_it_lacks(shapes, family, needed, tmp_path):
    file = write_file(tmp_path / "dream.safetensors", shapes)
    planned = parts.plan(str(file), NO_PARTS)
    assert planned.family.label == family
    assert [need.usual.removesuffix(".safetensors") for need in planned.missing] == needed
    with pytest.raises(BadInputError, match=r"lacks its VAE and its .*text encoder") as caught:
        parts.check(str(file), NO_PARTS)
    assert all(f'"{name}.safetensors"' in str(caught.value) for name in needed if name)


LORA = {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 320, 1, 1)}


@pytest.mark.parametrize(
    ("model", "part", "sentence"),
    [
        (Z_IMAGE, QWEN3_8B, r"Qwen 3 8B, and this Z-Image model needs the text encoder Qwen 3 4B .*qwen_3_4b\."),
        (Z_IMAGE, QWEN25, r"Qwen 2\.5 VL 7B, and this Z-Image model needs"),
        (KLEIN_9B, QWEN3_4B, r"Qwen 3 4B, and this FLUX\.2 klein model needs the text encoder Qwen 3 8B"),
        (SDXL, VAE_16, r"VAE with 16 channels, .* this SDXL model needs a VAE with 4 channels.*sdxl_vae\."),
        (Z_IMAGE, VAE_VIDEO, r"of Qwen-Image and Wan, and this Z-Image model needs a VAE with 16 channels, as of"),
        (QWEN, VAE_16, r"as of Stable Diffusion.* needs a VAE with 16 channels, of Qwen-Image and Wan"),
        (FLUX, CLIP_G, r"CLIP-G, and this FLUX\.1 model needs the text encoder CLIP-L .* and the text encoder T5-XXL"),
        (SANA, T5, "T5-XXL, and this Sana model needs the text encoder Gemma 2 2B"),
        (FLUX, UMT5, "is only a text encoder .*, and not a text encoder or VAE of a model that is supported"),
        (FLUX, FLUX, "and not a text encoder or VAE"),
        (FLUX, LORA, "is a LoRA, and not a text encoder or VAE: give it as a LoRA"),
    ],
)
def test_wrong_pairings_are_named_from_the_headers(model, part, sentence, tmp_path):
    file = write_file(tmp_path / "dream.safetensors", model)
    other = str(write_file(tmp_path / "part.safetensors", part))
    is_vae = any("decoder.conv" in name for name in part)
    given = Parts(vae=other) if is_vae else Parts(text_encoders=(other,))
    with pytest.raises(BadInputError, match=sentence):
        parts.check(str(file), given)


def test_a_tokenizer_that_nothing_would_read_is_refused(tmp_path):
    file = write_file(tmp_path / "dream.safetensors", SDXL)
    with pytest.raises(
        BadInputError, match="This SDXL model takes no tokenizer from elsewhere: leave the tokenizer out"
    ):
        parts.check(str(file), Parts(tokenizer=str(tmp_path)))


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (FLUX | {"img_in.weight": (3072, 384)}, "takes 384 channels for images of 64, as those for inpainting"),
        (KLEIN_9B | {"guidance_in.in_layer.weight": (6144, 256)}, r"is FLUX\.2 dev, whose text encoder"),
        (SDXL | {"input_blocks.0.0.weight": (320, 9, 3, 3)}, "takes 9 channels"),
        (SDXL_DIFFUSERS | {"encoder_hid_proj.weight": (2048, 4096)}, "is Kolors"),
        (CHROMA | {"nerf_blocks.0.norm.scale": (64,)}, "is Chroma Radiance"),
        (QWEN | {"time_text_embed.addition_t_embedding.weight": (2, 3072)}, "is Qwen-Image-Layered"),
        (FLUX | {"img_in.weight.absmax": (9,)}, "quantized by bitsandbytes"),
    ],
)
def test_a_denoiser_for_something_else_is_named(shapes, sentence, tmp_path):
    with pytest.raises(BadInputError, match=sentence):
        parts.plan(str(write_file(tmp_path / "dream.safetensors", shapes)), NO_PARTS)


def test_parts_in_the_wrong_place_or_twice(tmp_path):
    model = str(write_file(tmp_path / "dream.safetensors", FLUX))
    vae = str(write_file(tmp_path / "ae.safetensors", VAE_16))
    clip = str(write_file(tmp_path / "clip.safetensors", CLIP_L))
    for given, sentence in (
        (Parts(vae=clip), "CLIP-L, no VAE: choose it as the text encoder"),
        (Parts(text_encoders=(vae,)), "no text encoder: choose it as the VAE"),
        (Parts(text_encoders=(clip, str(shutil.copy(clip, tmp_path / "clip2.safetensors")))), "are both the text"),
        (Parts(vae=str(tmp_path / "nothing.safetensors")), "does not exist"),
        (Parts(vae=str(tmp_path / f"{'long' * 99}.safetensors")), "does not exist or cannot be seen"),
        (Parts(vae=str(tmp_path)), "no text encoder or VAE that is supported here: choose one with a config.json"),
    ):
        with pytest.raises(BadInputError, match=sentence):
            parts.check(model, given)


def test_one_of_the_files_of_a_network_is_no_network(tmp_path):
    model = write_file(tmp_path / "model-00001-of-00002.safetensors", FLUX)
    part = write_file(tmp_path / "vae" / "vae-00001-of-00002.safetensors", VAE_16)
    for check in (lambda: parts.check(str(model), NO_PARTS), lambda: parts.network_at(part)):
        with pytest.raises(BadInputError, match=r"only a part of its network, .* choose the folder"):
            check()
    assert parts.networks_in(tmp_path) == []
    assert parts.network_at(part.rename(part.with_name("vae-00001-of-00001.safetensors"))).is_vae


def test_a_folder_with_a_file_that_is_cut_off_is_no_network(tmp_path):
    file = write_file(tmp_path / "vae" / "model.safetensors", VAE_16)
    (tmp_path / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL", "latent_channels": 16}')
    assert parts.network_at(tmp_path / "vae").is_vae
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(BadInputError, match=r"vae.model\.safetensors.* is truncated"):
        parts.network_at(tmp_path / "vae")


def test_links_in_a_folder_of_models_may_lead_in_a_circle(tmp_path):
    (tmp_path / "self.safetensors").symlink_to(tmp_path / "self.safetensors")
    file = write_file(tmp_path / "ae.safetensors", VAE_16)
    assert [network.path for network in parts.networks_in(tmp_path)] == [file]


def test_a_tokenizer_and_a_folder_of_models_that_are_not_there(tmp_path):
    model = str(write_file(tmp_path / "dream.safetensors", FLUX))
    with pytest.raises(BadInputError, match=r'The tokenizer ".*nowhere" does not exist'):
        parts.check(model, Parts(tokenizer=str(tmp_path / "nowhere")))
    parser = argparse.ArgumentParser()
    add_options(parser, "object")
    for folder, what in ((tmp_path / "nowhere", "does not exist"), (model, "is a file")):
        with pytest.raises(BadInputError, match=f"folder of models .* {what}"):
            request_of(parser.parse_args(["--model", model, "--models-folder", str(folder)]), "a mug")


def test_what_lies_around_is_taken_where_only_one_file_fits(tmp_path):
    model = str(write_file(tmp_path / "dream.safetensors", Z_IMAGE))
    files = {"ae": VAE_16, "other_vae": VAE_16, "flux2-vae": VAE_32, "qwen_8b": QWEN3_8B, "my_qwen": QWEN3_4B}
    paths = {name: write_file(tmp_path / f"{name}.safetensors", shapes) for name, shapes in files.items()}
    found = [parts.network_at(path) for path in paths.values()]
    taken = parts.completed(model, NO_PARTS, found)
    assert taken == Parts(str(paths["ae"]), (str(paths["my_qwen"]),))  # the usual name wins
    chosen = parts.completed(model, Parts(vae=str(paths["other_vae"])), found)
    assert chosen.vae == str(paths["other_vae"])  # what a person gave stays
    third = parts.network_at(write_file(tmp_path / "third.safetensors", VAE_16))
    with pytest.raises(BadInputError, match=r"several: .*other_vae.*third\.safetensors\. Choose one"):
        parts.completed(model, NO_PARTS, [*found[1:], third])


def test_the_vae_beside_a_model_is_taken_instead_of_its_own(tmp_path):
    model = str(write_file(tmp_path / "dream.safetensors", SD1))
    assert parts.completed(model, NO_PARTS, ()) == NO_PARTS
    other = str(write_file(tmp_path / "other.vae.safetensors", VAE_4))
    beside = write_file(tmp_path / "dream.vae.safetensors", VAE_4)
    assert parts.completed(model, NO_PARTS, ()) == Parts(vae=str(beside))
    assert parts.check(model, Parts(vae=str(beside))).given["vae"].path == beside
    assert parts.completed(model, Parts(vae=other), ()) == Parts(vae=other)
    write_file(beside, VAE_16)
    with pytest.raises(BadInputError, match=r"dream\.vae\.safetensors\" is a VAE with 16 .* 4 channels.* rename it"):
        parts.completed(model, NO_PARTS, ())
    beside.write_bytes(b"no weights")
    with pytest.raises(BadInputError, match=r"does not start like a safetensors file.* rename it"):
        parts.completed(model, NO_PARTS, ())
    assert parts.completed(model, Parts(vae=other), ()) == Parts(vae=other)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_a_vae_beside_a_model_that_could_run_code_is_told_not_to_be_used(suffix, tmp_path):
    folder = write_stable_diffusion(tmp_path / "dream")
    model = write_single_file(folder, tmp_path / "dream.safetensors")
    assert load_prior(str(model), CPU).notices == ()
    model.with_suffix(f".vae{suffix}").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    (notice,) = load_prior(str(model), CPU).notices
    assert notice.startswith(f'The VAE "dream.vae{suffix}" beside the model is not used')
    assert notice.endswith('convert it to "dream.vae.safetensors".')
    save_file(load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"), tmp_path / "dream.vae.safetensors")
    assert load_prior(str(model), CPU, (), parts.completed(str(model), NO_PARTS, ())).notices == ()


@pytest.mark.parametrize(
    ("name", "shapes", "how"),
    [
        ("flux-2-klein-4b", KLEIN_4B, 'by its name, without "base"'),
        ("flux-2-klein-base-4b", KLEIN_4B, None),
        ("flux1-finetune", FLUX, "by its tensors, without those for guidance"),
        ("flux1-finetune", FLUX | {"guidance_in.in_layer.weight": (3072, 256)}, None),
        ("flux1-undistilled", FLUX, None),
        ("z_image_turbo_bf16", Z_IMAGE, r'by its name, "turbo"\), .*: choose Z-Image, without Turbo'),
    ],
)
def test_a_distilled_denoiser_is_named_before_it_is_loaded(name, shapes, how, tmp_path):
    file = str(write_file(tmp_path / f"{name}.safetensors", shapes))
    if how is None:
        check_noise("inversion", file)
        return
    with pytest.raises(BadInputError, match=how):
        check_noise("inversion", file)


def test_a_folder_of_models_as_comfyui_has_it(tmp_path):
    """What lies in its folders for parts is found from where the model lies, or where the person says."""
    root = tmp_path / "models"
    model = str(write_file(root / "diffusion_models" / "own" / "dream.safetensors", Z_IMAGE))
    vae = str(write_file(root / "vae" / "ae.safetensors", VAE_16))
    encoder = write_file(root / "text_encoders" / "qwen_3_4b.safetensors", QWEN3_4B)
    write_file(root / "loras" / "style.safetensors", {"lora_unet_x.lora_up.weight": (1, 1)})
    (root / "vae" / "damaged.safetensors").write_bytes(b"no header")
    assert parts.completed(model, NO_PARTS, ()) == Parts(vae, (str(encoder),))
    elsewhere = str(shutil.copy(model, tmp_path / "dream.safetensors"))
    assert parts.completed(elsewhere, NO_PARTS, ()) == NO_PARTS
    assert parts.completed(elsewhere, NO_PARTS, parts.networks_in(root)) == Parts(vae, (str(encoder),))


def test_options_and_requests_name_the_parts(tmp_path):
    root = tmp_path / "models"
    model = str(write_file(root / "unet" / "dream.safetensors", Z_IMAGE))
    vae = str(write_file(root / "vae" / "ae.safetensors", VAE_16))
    encoder = str(write_file(root / "clip" / "qwen.safetensors", QWEN3_4B))
    other = str(write_file(tmp_path / "other.safetensors", QWEN3_4B))
    parser = argparse.ArgumentParser()
    add_options(parser, "object")
    given = ["--model", model, "--vae", vae, "--text-encoder", other, "--tokenizer", str(tmp_path)]
    request = request_of(parser.parse_args(given), "a mug").validated()
    assert request.parts == Parts(vae, (other,), str(tmp_path))
    assert JobRequest.from_json(request.to_json()) == request
    assert request_of(parser.parse_args(["--model", model]), "a mug").parts == Parts(vae, (encoder,))
    with pytest.raises(BadInputError, match="is not a text encoder"):
        dataclasses.replace(request, text_encoders=(3,)).validated()
    assert JobRequest.from_json('{"prompt": "a mug", "schema": 3}').parts == NO_PARTS


@pytest.mark.parametrize("family", BILLIONS)
def test_shipped_configurations_have_the_published_sizes(family):
    folder = families.CONFIGS / family
    kind = getattr(diffusers, json.loads((folder / "model_index.json").read_text())["transformer"][1])
    with torch.device("meta"):
        denoiser = kind.from_config(json.loads((folder / "transformer" / "config.json").read_text()))
    found = sum(parameter.numel() for parameter in denoiser.parameters()) / 1e9
    assert found == pytest.approx(BILLIONS[family], abs=0.006)
