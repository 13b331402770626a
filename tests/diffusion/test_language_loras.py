"""LoRAs of families with a language model: what Diffusers reads of them is what is added here."""

import pytest
import torch
from diffusers import DiffusionPipeline
from lora_files import low_rank
from safetensors.torch import save_file
from tiny_language_models import write_flux2_klein, write_qwen_image, write_sana, write_z_image

from sdi_engine.contract.request import Lora
from sdi_engine.diffusion import families
from sdi_engine.diffusion.flux2_names import flux2_layout
from sdi_engine.diffusion.header import lora_family
from sdi_engine.diffusion.loras import fuse_loras
from sdi_engine.diffusion.sana_names import sana_layout
from sdi_engine.diffusion.z_image_names import z_image_layout
from sdi_engine.errors import BadInputError

WRITERS = {"z-image": write_z_image, "flux2": write_flux2_klein, "qwen": write_qwen_image, "sana": write_sana}
PEFT = ("lora_A.weight", "lora_B.weight")
KOHYA = ("lora_down.weight", "lora_up.weight")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: write(folder / name) for name, write in WRITERS.items()}


def by_both(folder, tensors, file):
    """The transformer's weights with a LoRA at 0.5, by Diffusers and PEFT and by ours, and those of before."""
    save_file(tensors, file)
    theirs, ours = (DiffusionPipeline.from_pretrained(folder) for _ in range(2))
    before = {name: tensor.clone() for name, tensor in ours.transformer.state_dict().items()}
    theirs.load_lora_weights(str(file))
    theirs.fuse_lora(lora_scale=0.5)
    theirs.unload_lora_weights()
    fuse_loras(ours, [Lora(str(file), 0.5)], families.of_pipeline(type(ours).__name__))
    return theirs.transformer.state_dict(), ours.transformer.state_dict(), before


Z_IMAGE = {"layers.0.attention.to_q": (16, 16), "noise_refiner.0.attention.to_out.0": (16, 16)}
FLUX2 = {
    "double_blocks.0.img_attn.qkv": (48, 16),
    "double_blocks.0.txt_mlp.0": (96, 16),
    "single_blocks.0.linear1": (144, 16),
    "single_blocks.0.linear2": (16, 64),
}
QWEN = {"transformer_blocks.1.attn.add_q_proj": (16, 16), "transformer_blocks.0.img_mod.1": (96, 16)}
SANA = {"transformer_blocks.0.attn1.to_q": (16, 16), "transformer_blocks.1.attn2.to_k": (16, 16)}


@pytest.mark.parametrize(
    ("model", "layers", "rename", "kinds", "alpha"),
    [
        ("z-image", Z_IMAGE, "transformer.{}", PEFT, None),
        ("z-image", Z_IMAGE, "diffusion_model.{}", PEFT, None),
        ("z-image", Z_IMAGE, "lora_unet_{}", KOHYA, 1.0),
        ("flux2", {"transformer_blocks.0.attn.to_k": (16, 16)}, "transformer.{}", PEFT, None),
        ("flux2", FLUX2, "diffusion_model.{}", PEFT, None),
        ("flux2", FLUX2, "lora_unet_{}", KOHYA, 1.0),
        ("qwen", QWEN, "transformer.{}", PEFT, None),
        ("qwen", QWEN, "diffusion_model.{}", PEFT, None),
        ("qwen", QWEN, "lora_unet_{}", KOHYA, 1.0),
        ("sana", SANA, "transformer.{}", PEFT, None),
    ],
)
def test_what_a_file_adds_is_what_diffusers_adds(model, layers, rename, kinds, alpha, models, tmp_path):
    flat = rename.startswith("lora_unet_")
    named = {rename.format(name.replace(".", "_") if flat else name): shape for name, shape in layers.items()}
    theirs, ours, before = by_both(models[model], low_rank(named, kinds, alpha), tmp_path / "lora.safetensors")
    assert ours.keys() == theirs.keys()
    assert sum(not torch.equal(ours[name], before[name]) for name in ours) >= len(layers)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        {"lora_unet_transformer_blocks_0_attn1_to_q": (16, 16), "lora_unet_transformer_blocks_1_attn2_to_k": (16, 16)},
        {"lora_unet_blocks_0_attn_qkv": (48, 16), "lora_unet_blocks_1_cross_attn_kv_linear": (32, 16)},
        {"diffusion_model.blocks.0.attn.qkv": (48, 16), "diffusion_model.blocks.1.cross_attn.kv_linear": (32, 16)},
    ],
    ids=["kohya", "kohya, original names", "ComfyUI"],
)
def test_what_diffusers_cannot_read_of_sana_adds_the_same_by_its_formula(layers, models, tmp_path):
    """Diffusers reads LoRAs of Sana by its own names alone."""
    kinds = PEFT if "diffusion_model." in next(iter(layers)) else KOHYA
    tensors = low_rank(layers, kinds, None if kinds is PEFT else 1.0)
    save_file(tensors, tmp_path / "lora.safetensors")
    ours = DiffusionPipeline.from_pretrained(models["sana"])
    before = {name: tensor.clone() for name, tensor in ours.transformer.state_dict().items()}
    fuse_loras(ours, [Lora(str(tmp_path / "lora.safetensors"), 0.5)], families.SANA)
    layout = sana_layout(ours.transformer, "")
    own = {name.replace(".", "_"): held.names for name, held in layout.items()}
    own |= {name.replace(".", "_"): (name,) for name in before}
    for layer, (rows, _) in layers.items():
        flat = layer.removeprefix("lora_unet_").removeprefix("diffusion_model.").replace(".", "_")
        names = own[f"{flat}_weight"]
        change = torch.cat([ours.transformer.state_dict()[name] - before[name] for name in names])
        down, up = (tensors[f"{layer}.{kind}"] for kind in kinds)
        scale = 1.0 if kinds is PEFT else 1.0 / len(down)
        assert change.shape[0] == rows
        torch.testing.assert_close(change, 0.5 * scale * up @ down, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("model", "layout"), [("z-image", z_image_layout), ("flux2", flux2_layout)])
def test_every_tensor_has_one_original_name(model, layout, models):
    transformer = DiffusionPipeline.from_pretrained(models[model]).transformer
    names = [name for held in layout(transformer, "").values() for name in held.names]
    assert sorted(names) == sorted(transformer.state_dict())


def test_a_lora_for_another_family_is_named(models, tmp_path):
    save_file(
        low_rank({f"transformer.{name}": shape for name, shape in Z_IMAGE.items()}, PEFT), tmp_path / "l.safetensors"
    )
    pipeline = DiffusionPipeline.from_pretrained(models["sana"])
    with pytest.raises(BadInputError, match=r"does not fit this Sana model \(it was trained for Z-Image\)"):
        fuse_loras(pipeline, [Lora(str(tmp_path / "l.safetensors"))], families.SANA)
    assert lora_family({"transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight": (2, 4)}) == (
        "FLUX.2 klein"
    )
    assert lora_family({"lora_unet_transformer_blocks_0_img_mlp_net_2.lora_down.weight": (2, 4)}) == "Qwen-Image"
