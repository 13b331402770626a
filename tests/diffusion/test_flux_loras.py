"""LoRAs of FLUX.1 and Chroma: what Diffusers reads of them is what is added here."""

import functools

import pytest
import torch
from diffusers import DiffusionPipeline
from lora_files import low_rank
from safetensors.torch import save_file
from tiny_flux import write_chroma, write_flux

from sdi_engine.contract.request import Lora
from sdi_engine.diffusion import families
from sdi_engine.diffusion.flux_names import flux_layout
from sdi_engine.diffusion.loras import fuse_loras
from sdi_engine.errors import BadInputError

PEFT = ("lora_A.weight", "lora_B.weight")
KOHYA = ("lora_down.weight", "lora_up.weight")
WIDTH = 32
DIFFUSERS = {
    "transformer.transformer_blocks.0.attn.to_q": (WIDTH, WIDTH),
    "transformer.single_transformer_blocks.1.proj_mlp": (4 * WIDTH, WIDTH),
}
ORIGINAL = {
    "lora_unet_double_blocks_0_img_attn_qkv": (3 * WIDTH, WIDTH),
    "lora_unet_double_blocks_0_txt_attn_qkv": (3 * WIDTH, WIDTH),
    "lora_unet_double_blocks_0_txt_mlp_2": (WIDTH, 4 * WIDTH),
    "lora_unet_single_blocks_1_linear2": (WIDTH, 5 * WIDTH),
}
MODULATION = {"lora_unet_double_blocks_0_img_mod_lin": (6 * WIDTH, WIDTH)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"flux": write_flux(folder / "flux"), "chroma": write_chroma(folder / "chroma")}


lora = functools.partial(low_rank, rank=3)


def weights(pipeline):
    parts = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return {f"{name}.{key}": value.clone() for name, part in parts.items() for key, value in part.state_dict().items()}


def fused(pipeline, file):
    return fuse_loras(pipeline, [Lora(str(file), 0.5)], families.of_pipeline(type(pipeline).__name__))


@pytest.mark.parametrize(
    ("model", "layers", "kinds", "alpha"),
    [
        ("flux", DIFFUSERS, PEFT, None),
        ("flux", ORIGINAL | MODULATION, KOHYA, 1.5),
        ("chroma", DIFFUSERS, PEFT, None),
        ("chroma", ORIGINAL, KOHYA, 1.5),
    ],
)
def test_what_a_file_adds_is_what_diffusers_adds(model, layers, kinds, alpha, models, tmp_path):
    save_file(lora(layers, kinds, alpha), tmp_path / "lora.safetensors")
    theirs, ours = (DiffusionPipeline.from_pretrained(models[model]) for _ in range(2))
    before = weights(ours)
    theirs.load_lora_weights(str(tmp_path / "lora.safetensors"))
    theirs.fuse_lora(lora_scale=0.5)
    theirs.unload_lora_weights()
    fused(ours, tmp_path / "lora.safetensors")
    ours, theirs = weights(ours), weights(theirs)
    assert sum(not torch.equal(ours[name], before[name]) for name in ours) >= len(layers)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-5)


def test_what_diffusers_cannot_read_is_added_by_the_formula(models, tmp_path):
    """It takes linear1 apart for the real size only, and with this version of Transformers it passes over CLIP."""
    names = "lora_unet_single_blocks_0_linear1", "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    tensors = lora(dict(zip(names, [(7 * WIDTH, WIDTH), (16, 16)], strict=True)), KOHYA, 1.5)
    save_file(tensors, tmp_path / "lora.safetensors")
    pipeline = DiffusionPipeline.from_pretrained(models["flux"])
    block = pipeline.transformer.single_transformer_blocks[0]
    (query,) = (part for name, part in pipeline.text_encoder.named_modules() if name.endswith("0.self_attn.q_proj"))
    layers = [[block.attn.to_q, block.attn.to_k, block.attn.to_v, block.proj_mlp], [query]]
    before = [torch.cat([part.weight.detach().clone() for part in parts]) for parts in layers]
    fused(pipeline, tmp_path / "lora.safetensors")
    for name, parts, weight in zip(names, layers, before, strict=True):
        down, up = (tensors[f"{name}.{kind}"] for kind in KOHYA)
        expected = weight + 0.5 * (1.5 / 3) * up @ down
        torch.testing.assert_close(torch.cat([part.weight for part in parts]), expected)


def test_what_is_not_read_is_said(models, tmp_path):
    file = tmp_path / "lora.safetensors"
    layers = DIFFUSERS | {"lora_te3_encoder_block_0_layer_0_SelfAttention_q": (16, 32)}
    save_file(lora(layers, PEFT), file)
    pipeline = DiffusionPipeline.from_pretrained(models["flux"])
    assert "also contains what this model does not use" in fused(pipeline, file)[0]
    xlabs = {"double_blocks.0.processor.qkv_lora1": (3 * WIDTH, WIDTH)}
    save_file(lora(xlabs, ("down.weight", "up.weight")), file)
    with pytest.raises(BadInputError, match="is in an unsupported format"):
        fused(pipeline, file)


@pytest.mark.parametrize("model", ["flux", "chroma"])
def test_every_tensor_has_one_original_name(model, models):
    transformer = DiffusionPipeline.from_pretrained(models[model]).transformer
    names = [name for held in flux_layout(transformer, "").values() for name in held.names]
    assert sorted(names) == sorted(transformer.state_dict())
