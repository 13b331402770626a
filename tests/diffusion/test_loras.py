import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline, StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from tiny_models import write_sd3, write_sdxl, write_stable_diffusion
from torch import nn

from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.loras import fuse_loras
from sdi_engine.diffusion.original_names import unet_layout
from sdi_engine.errors import BadInputError
from sdi_engine.request import Lora

CPU = torch.device("cpu")
WITHOUT_T5 = {"text_encoder_3": None, "tokenizer_3": None}
TO_Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "sd1": write_stable_diffusion(folder / "sd1"),
        "sdxl": write_sdxl(folder / "sdxl"),
        "sd3": write_sd3(folder / "sd3"),
    }


def pipeline_of(models, name):
    return DiffusionPipeline.from_pretrained(models[name], **(WITHOUT_T5 if name == "sd3" else {}))


def weights_of(pipeline):
    return {
        f"{part}.{name}": tensor.clone()
        for part in ("unet", "transformer", "text_encoder", "text_encoder_2")
        if getattr(pipeline, part, None) is not None
        for name, tensor in getattr(pipeline, part).state_dict().items()
    }


def kohya_lora(pipeline, file, seed=0, rename=lambda name: name):
    """A file as kohya's scripts write it, every layer of its own rank and alpha, and its effect."""
    generator = torch.Generator().manual_seed(seed)
    tensors, effect = {}, {}
    prefixes = {"lora_unet": "unet", "lora_te": "text_encoder"}
    if hasattr(pipeline, "text_encoder_2"):
        prefixes = {"lora_unet": "unet", "lora_te1": "text_encoder", "lora_te2": "text_encoder_2"}
    for prefix, part in prefixes.items():
        for name, layer in getattr(pipeline, part).named_modules():
            linear = isinstance(layer, nn.Linear) and any(word in name for word in ("attn", "ff.", "mlp", "proj_"))
            convolution = isinstance(layer, nn.Conv2d) and "proj_" in name
            if not (linear or convolution):
                continue
            rank, alpha = 1 + len(tensors) % 4, 0.5 + len(tensors) % 3
            rows, columns = layer.weight.shape[:2]
            kernel = layer.weight.shape[2:]
            up = torch.randn(rows, rank, *kernel, generator=generator)
            down = torch.randn(rank, columns, *kernel, generator=generator)
            own = rename(name) if part == "unet" else f"text_model.{name.removeprefix('text_model.')}"
            key = f"{prefix}_{own.replace('.', '_')}"
            tensors[f"{key}.lora_up.weight"], tensors[f"{key}.lora_down.weight"] = up, down
            tensors[f"{key}.alpha"] = torch.tensor(alpha)
            change = alpha / rank * up.flatten(1) @ down.flatten(1)
            effect[f"{part}.{name}.weight"] = change.view(layer.weight.shape)
    save_file(tensors, file)
    return effect


def assert_changed(pipeline, before, changes):
    after = weights_of(pipeline)
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        expected = tensor + changes[name] if name in changes else tensor
        torch.testing.assert_close(after[name], expected, atol=1e-5, rtol=1e-5)


def test_kohya_file_adds_what_it_says(models, tmp_path):
    pipeline = pipeline_of(models, "sd1")
    changes = kohya_lora(pipeline, tmp_path / "lora.safetensors")
    assert {name.split(".")[0] for name in changes} == {"unet", "text_encoder"}
    before = weights_of(pipeline)
    fuse_loras(pipeline, [Lora(str(tmp_path / "lora.safetensors"), 0.5)])
    assert_changed(pipeline, before, {name: 0.5 * change for name, change in changes.items()})


def test_kohya_file_for_sdxl_names_the_layers_as_the_original_code_does(models, tmp_path):
    pipeline = pipeline_of(models, "sdxl")
    original = {held.names[0]: name for name, held in unet_layout(pipeline.unet, "").items()}

    def rename(name):
        return original[f"{name}.weight"].removesuffix(".weight")

    changes = kohya_lora(pipeline, tmp_path / "lora.safetensors", rename=rename)
    assert any(name.startswith("text_encoder_2.") for name in changes)
    before = weights_of(pipeline)
    fuse_loras(pipeline, [Lora(str(tmp_path / "lora.safetensors"), -1.5)])
    assert_changed(pipeline, before, {name: -1.5 * change for name, change in changes.items()})


@pytest.mark.parametrize(
    ("model", "part", "layer"),
    [("sdxl", "unet", TO_Q), ("sd3", "transformer", "transformer_blocks.0.attn.to_q")],
)
def test_peft_file_adds_what_it_says(model, part, layer, models, tmp_path):
    """Written by Diffusers and PEFT themselves, alpha and all."""
    pipeline = pipeline_of(models, model)
    trained = getattr(pipeline, part)
    config = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    trained.add_adapter(config)
    tensors = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(trained).items()}
    writer = {"sdxl": StableDiffusionXLPipeline, "sd3": StableDiffusion3Pipeline}[model]
    metadata = {f"{part}_lora_adapter_metadata": config.to_dict()}
    writer.save_lora_weights(tmp_path, **{f"{part}_lora_layers": tensors}, **metadata)
    (file,) = tmp_path.glob("*.safetensors")

    pipeline = pipeline_of(models, model)
    before = weights_of(pipeline)
    fuse_loras(pipeline, [Lora(str(file), 0.7)])
    changes = {
        f"{part}.{name.removesuffix('.lora_B.weight')}.weight": 0.7
        * (2 / 4)
        * tensor
        @ tensors[name.replace("lora_B", "lora_A")]
        for name, tensor in tensors.items()
        if "lora_B" in name
    }
    assert f"{part}.{layer}.weight" in changes
    assert_changed(pipeline, before, changes)


def test_several_add_up_and_a_weight_of_zero_changes_nothing(models, tmp_path):
    pipeline = pipeline_of(models, "sd1")
    files = [tmp_path / f"{index}.safetensors" for index in range(3)]
    changes = [kohya_lora(pipeline, file, seed) for seed, file in enumerate(files)]
    before = weights_of(pipeline)
    weights = (0.5, -1.0, 0.0)
    fuse_loras(pipeline, [Lora(str(file), weight) for file, weight in zip(files, weights, strict=True)])
    assert_changed(pipeline, before, {name: 0.5 * changes[0][name] - changes[1][name] for name in changes[0]})


def test_a_loaded_model_predicts_with_its_loras(models, tmp_path):
    file = tmp_path / "lora.safetensors"
    kohya_lora(pipeline_of(models, "sd1"), file)

    def prediction(*loras):
        prior = load_prior(str(models["sd1"]), CPU, loras)
        x = torch.ones(1, 4, 8, 8)
        return prior.predict(x, torch.tensor([0.5]), prior.condition(["a mug"]), 1.0).noise.detach()

    plain = prediction()
    torch.testing.assert_close(prediction(Lora(str(file), 0.0)), plain)
    assert (prediction(Lora(str(file), 0.3)) - plain).abs().max() > 1e-2


def test_what_does_not_fit(models, tmp_path):
    def load(file):
        load_prior(str(models["sd1"]), CPU, [Lora(str(file), 1.0)])

    with pytest.raises(BadInputError, match="does not exist"):
        load(tmp_path / "nothing.safetensors")
    pickle = tmp_path / "lora.pt"
    pickle.write_bytes(b"\x80\x04.")
    with pytest.raises(BadInputError, match="can run code"):
        load(pickle)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a tensor")
    with pytest.raises(BadInputError, match="damaged"):
        load(damaged)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.ones(1)}, other)
    with pytest.raises(BadInputError, match="no LoRA"):
        load(other)
    for model in ("sdxl", "sd3"):
        foreign = tmp_path / f"{model}.safetensors"
        if model == "sdxl":
            kohya_lora(pipeline_of(models, model), foreign)
        else:
            name = "transformer.transformer_blocks.0.attn.to_q"
            save_file({f"{name}.lora_A.weight": torch.ones(2, 64), f"{name}.lora_B.weight": torch.ones(64, 2)}, foreign)
        with pytest.raises(BadInputError, match="does not fit"):
            load(foreign)
