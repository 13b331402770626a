import copy
import json

import pytest
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline, StableDiffusionXLPipeline
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from tiny_models import write_sd3, write_sdxl, write_stable_diffusion
from torch import nn

from sdi_engine.contract.request import Lora
from sdi_engine.diffusion import families, loading
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.loras import fuse_loras
from sdi_engine.diffusion.original_names import unet_layout
from sdi_engine.errors import BadInputError

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


def of(pipeline):
    return families.of_pipeline(type(pipeline).__name__)


def weights_of(pipeline):
    return {
        f"{part}.{name}": tensor.clone()
        for part in ("unet", "transformer", "text_encoder", "text_encoder_2")
        if getattr(pipeline, part, None) is not None
        for name, tensor in getattr(pipeline, part).state_dict().items()
    }


def kohya_lora(pipeline, file, seed=0, rename=lambda name: name):
    """A file in kohya's format, with a rank and an alpha for each layer, and its effect on the weights."""
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
    fuse_loras(pipeline, [Lora(str(tmp_path / "lora.safetensors"), 0.5)], of(pipeline))
    assert_changed(pipeline, before, {name: 0.5 * change for name, change in changes.items()})


def test_kohya_file_for_sdxl_names_the_layers_as_the_original_code_does(models, tmp_path):
    pipeline = pipeline_of(models, "sdxl")
    original = {held.names[0]: name for name, held in unet_layout(pipeline.unet, "").items()}

    def rename(name):
        return original[f"{name}.weight"].removesuffix(".weight")

    changes = kohya_lora(pipeline, tmp_path / "lora.safetensors", rename=rename)
    assert any(name.startswith("text_encoder_2.") for name in changes)
    before = weights_of(pipeline)
    fuse_loras(pipeline, [Lora(str(tmp_path / "lora.safetensors"), -1.5)], of(pipeline))
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
    fuse_loras(pipeline, [Lora(str(file), 0.7)], of(pipeline))
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


def peft_merged(unet, config):
    """A U-Net with a random adapter of PEFT, and the weights that PEFT itself merges from both."""
    torch.manual_seed(3)
    model = get_peft_model(copy.deepcopy(unet), config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
        elif parameter.requires_grad:
            parameter.data *= torch.linspace(0.5, 1.5, parameter.numel()).view_as(parameter)
    return model


LAYERS = ["attentions.0.transformer_blocks.0.attn1.to_q", "ff.net.0.proj", "conv1", "conv_shortcut", "proj_in"]
LINEAR = ["attn1.to_q", "attn2.to_k", "ff.net.2"]


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=4, lora_alpha=3, target_modules=LAYERS),
        LoraConfig(r=4, lora_alpha=3, target_modules=LAYERS, use_dora=True),
        LoraConfig(r=4, lora_alpha=3, target_modules=LINEAR, use_rslora=True),
        LoraConfig(r=4, lora_alpha=3, target_modules=LINEAR, rank_pattern={"to_k": 2}, alpha_pattern={"to_k": 5}),
        LoHaConfig(r=3, alpha=5, target_modules=LAYERS),
        LoHaConfig(r=3, alpha=5, target_modules=LAYERS, use_effective_conv2d=True),
        LoKrConfig(r=2, alpha=5, target_modules=LAYERS),
        LoKrConfig(r=2, alpha=5, target_modules=LAYERS, use_effective_conv2d=True, decompose_both=True),
        LoKrConfig(r=64, alpha=5, target_modules=LINEAR),
        IA3Config(target_modules=LINEAR, feedforward_modules=["ff.net.2"]),
    ],
    ids=["lora", "dora", "rslora", "patterns", "loha", "loha-tucker", "lokr", "lokr-tucker", "lokr-whole", "ia3"],
)
def test_every_format_is_what_peft_makes_of_it(config, models, tmp_path):
    pipeline = pipeline_of(models, "sd1")
    before = weights_of(pipeline)
    model = peft_merged(pipeline.unet, config)
    model.save_pretrained(tmp_path)
    merged = model.merge_and_unload().state_dict()
    fuse_loras(pipeline, [Lora(str(tmp_path / "adapter_model.safetensors"), 1.0)], of(pipeline))
    changes = {f"unet.{name}": tensor - before[f"unet.{name}"] for name, tensor in merged.items()}
    assert sum(bool(change.abs().max() > 1e-3) for change in changes.values()) >= 6
    assert_changed(pipeline, before, changes)
    half = pipeline_of(models, "sd1")
    fuse_loras(half, [Lora(str(tmp_path / "adapter_model.safetensors"), 0.5)], of(half))
    assert_changed(half, before, {name: 0.5 * change for name, change in changes.items()})


def fused(models, tmp_path, tensors, name="sd1"):
    """A pipeline's weights before and after merging a LoRA of these tensors, and the messages."""
    file = tmp_path / "lora.safetensors"
    save_file(tensors, file)
    pipeline = pipeline_of(models, name)
    before = weights_of(pipeline)
    notices = fuse_loras(pipeline, [Lora(str(file), 1.0)], of(pipeline))
    return before, weights_of(pipeline), notices


FLAT_TO_Q = f"lora_unet_{TO_Q.replace('.', '_')}"
CONV = "down_blocks.0.resnets.0.conv1"
FLAT_CONV = f"lora_unet_{CONV.replace('.', '_')}"


def test_a_tuckers_core_stands_between_the_convolutions(models, tmp_path):
    """`lora_mid` of kohya and LyCORIS: one convolution equals the three applied one after the other."""
    down, mid, up = torch.randn(3, 16, 1, 1), torch.randn(3, 3, 3, 3), torch.randn(16, 3, 1, 1)
    tensors = {f"{FLAT_CONV}.lora_{name}.weight": part for name, part in (("down", down), ("mid", mid), ("up", up))}
    before, after, _ = fused(models, tmp_path, tensors | {f"{FLAT_CONV}.alpha": torch.tensor(1.5)})
    change = after[f"unet.{CONV}.weight"] - before[f"unet.{CONV}.weight"]
    x = torch.randn(1, 16, 6, 6)
    expected = 0.5 * F.conv2d(F.conv2d(F.conv2d(x, down), mid, padding=1), up)
    torch.testing.assert_close(F.conv2d(x, change, padding=1), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
def test_dora_of_lycoris_sets_lengths(axis, models, tmp_path):
    """Newer files set the lengths of rows, older ones those of columns."""
    lengths = torch.rand(32, 1) + 0.5
    tensors = {
        f"{FLAT_TO_Q}.lora_up.weight": torch.randn(32, 2),
        f"{FLAT_TO_Q}.lora_down.weight": torch.randn(2, 32),
        f"{FLAT_TO_Q}.alpha": torch.tensor(2.0),
        f"{FLAT_TO_Q}.dora_scale": (lengths if axis == 0 else lengths.T).contiguous(),
    }
    _, after, _ = fused(models, tmp_path, tensors)
    if axis == 0:
        torch.testing.assert_close(after[f"unet.{TO_Q}.weight"].norm(dim=1, keepdim=True), lengths)
    else:
        torch.testing.assert_close(after[f"unet.{TO_Q}.weight"].norm(dim=0, keepdim=True), lengths.T)


def test_full_differences_and_those_of_norms_and_biases(models, tmp_path):
    norm = "down_blocks.0.resnets.0.norm1"
    flat_norm = f"lora_unet_{norm.replace('.', '_')}"
    tensors = {
        f"{FLAT_CONV}.diff": torch.randn(16, 16, 3, 3),
        f"{FLAT_CONV}.diff_b": torch.randn(16),
        f"{flat_norm}.w_norm": torch.randn(16),
        f"{flat_norm}.b_norm": torch.randn(16),
        f"{FLAT_TO_Q}.weight": torch.randn(32),
        f"{FLAT_TO_Q}.on_input": torch.tensor(1),
    }
    before, after, _ = fused(models, tmp_path, tensors)
    changes = {
        f"unet.{CONV}.weight": tensors[f"{FLAT_CONV}.diff"],
        f"unet.{CONV}.bias": tensors[f"{FLAT_CONV}.diff_b"],
        f"unet.{norm}.weight": tensors[f"{flat_norm}.w_norm"],
        f"unet.{norm}.bias": tensors[f"{flat_norm}.b_norm"],
        f"unet.{TO_Q}.weight": before[f"unet.{TO_Q}.weight"] * tensors[f"{FLAT_TO_Q}.weight"][None],
    }
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor + changes.get(name, 0.0))


@pytest.mark.parametrize(
    ("up", "down"),
    [
        (f"{FLAT_TO_Q}.lora_up.weight", f"{FLAT_TO_Q}.lora_down.weight"),
        (f"lycoris_{TO_Q.replace('.', '_')}.lora_up.weight", f"lycoris_{TO_Q.replace('.', '_')}.lora_down.weight"),
        (f"unet.{TO_Q}.lora_B.weight", f"unet.{TO_Q}.lora_A.weight"),
        (f"unet.{TO_Q}.lora.up.weight", f"unet.{TO_Q}.lora.down.weight"),
        (f"{TO_Q[:-5]}.processor.to_q_lora.up.weight", f"{TO_Q[:-5]}.processor.to_q_lora.down.weight"),
        (f"base_model.model.{TO_Q}.lora_B.default.weight", f"base_model.model.{TO_Q}.lora_A.default.weight"),
        (
            "diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_q.lora_up.weight",
            "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
        ),
    ],
)
def test_a_layer_by_all_its_names(up, down, models, tmp_path):
    tensors = {up: torch.randn(32, 2), down: torch.randn(2, 32)}
    before, after, _ = fused(models, tmp_path, tensors)
    change = tensors[up] @ tensors[down]
    torch.testing.assert_close(after[f"unet.{TO_Q}.weight"], before[f"unet.{TO_Q}.weight"] + change)


@pytest.mark.parametrize(
    "name", ["lora_te2_text_model_encoder_layers_1_mlp_fc1", "text_encoder_2.text_model.encoder.layers.1.mlp.fc1"]
)
def test_the_second_text_encoder_by_its_names(name, models, tmp_path):
    tensors = {f"{name}.lora_up.weight": torch.randn(24, 2), f"{name}.lora_down.weight": torch.randn(2, 24)}
    before, after, _ = fused(models, tmp_path, tensors, "sdxl")
    (changed,) = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    assert changed.endswith("encoder.layers.1.mlp.fc1.weight")
    assert changed.startswith("text_encoder_2.")


def test_query_key_and_value_of_sd3_in_one_matrix(models, tmp_path):
    """As in kohya's scripts; Diffusers has a layer for each."""
    name = "lora_unet_joint_blocks_0_x_block_attn_qkv"
    tensors = {f"{name}.lora_up.weight": torch.randn(192, 2), f"{name}.lora_down.weight": torch.randn(2, 64)}
    before, after, _ = fused(models, tmp_path, tensors, "sd3")
    changes = (tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"]).chunk(3)
    for part, change in zip("qkv", changes, strict=True):
        layer = f"transformer.transformer_blocks.0.attn.to_{part}.weight"
        torch.testing.assert_close(after[layer], before[layer] + change)


def plain(layer, rows=32, columns=32):
    return {f"{layer}.lora_up.weight": torch.ones(rows, 1), f"{layer}.lora_down.weight": torch.ones(1, columns)}


def test_a_stray_embedding_does_not_spoil_a_lora(models, tmp_path):
    stray = {"bundle_emb.style.string_to_param.*": torch.ones(2, 16), "emb_params": torch.ones(2, 16)}
    before, after, notices = fused(models, tmp_path, plain(FLAT_TO_Q) | stray)
    torch.testing.assert_close(after[f"unet.{TO_Q}.weight"], before[f"unet.{TO_Q}.weight"] + 1.0)
    (notice,) = notices
    assert notice.startswith('The LoRA "lora.safetensors" also contains what')
    assert "emb_params" in notice
    prior = load_prior(str(models["sd1"]), CPU, [Lora(str(tmp_path / "lora.safetensors"))])
    assert list(prior.notices) == notices


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({f"{FLAT_TO_Q}.oft_blocks": torch.ones(2, 2, 2)}, "unsupported format.*oft_blocks"),
        ({f"{FLAT_TO_Q}.{name}.weight": torch.ones(2, 2) for name in ("a1", "a2", "b1", "b2")}, "unsupported"),
        ({f"{FLAT_TO_Q}.lora_up.weight": torch.ones(32, 2)}, "unsupported"),
        (plain(FLAT_TO_Q) | {f"{FLAT_TO_Q}.reshape_weight": torch.ones(2)}, "unsupported.*reshape_weight"),
        ({f"{FLAT_CONV}.ia3_l": torch.ones(1, 16, 1, 1)}, "unsupported"),
        (plain(FLAT_TO_Q) | plain("lora_te_text_model_encoder_layers_9_mlp_fc1"), "no place for .*layers_9"),
        (plain(FLAT_TO_Q) | plain("lora_te2_text_model_encoder_layers_0_mlp_fc1"), "no place for .*te2"),
        (plain(FLAT_TO_Q, 64), "does not have the shape"),
        (plain(FLAT_TO_Q, columns=16), "does not have the shape"),
        ({f"{FLAT_TO_Q}.diff": torch.ones(32, 8, 2, 2)}, "does not have the shape"),
        (plain("lora_unet_double_blocks_0_img_attn_qkv"), "trained for FLUX"),
        (plain("transformer.single_transformer_blocks.0.attn.to_q"), "trained for FLUX"),
        (plain("lora_unet_joint_blocks_0_x_block_attn_qkv"), "trained for SD 3"),
        (plain(FLAT_TO_Q.replace("attn1_to_q", "attn2_to_k"), columns=2048), "trained for SDXL"),
        (plain(FLAT_TO_Q.replace("attn1_to_q", "attn2_to_k"), columns=1024), "trained for SD 2.x"),
        (plain(FLAT_TO_Q) | {f"{FLAT_TO_Q}.alpha": torch.tensor(float("nan"))}, "NaN or infinite"),
        (plain(FLAT_TO_Q) | plain(TO_Q), "two tensors are for the same layer"),
    ],
)
def test_what_cannot_be_used_whole_is_refused_with_the_reason_and_changes_nothing(tensors, sentence, models, tmp_path):
    """Even if another file is fine; the sentence names the faulty one."""
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_file(plain(FLAT_TO_Q), good)
    save_file(tensors, bad)
    pipeline = pipeline_of(models, "sd1")
    before = weights_of(pipeline)
    with pytest.raises(BadInputError, match=sentence) as caught:
        fuse_loras(pipeline, [Lora(str(good), 1.0), Lora(str(bad), 1.0)], of(pipeline))
    assert "bad.safetensors" in str(caught.value)
    assert "good.safetensors" not in str(caught.value)
    assert_changed(pipeline, before, {})


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"unet.r": 2, "unet.alpha_pattern": {"(": 4}}, "damaged metadata"),
        ({"unet.r": 2, "unet.lora_alpha": float("inf")}, "NaN or infinite"),
    ],
)
def test_settings_of_peft_that_cannot_be_are_refused(metadata, sentence, models, tmp_path):
    layer = f"unet.{TO_Q}"
    tensors = {f"{layer}.lora_A.weight": torch.randn(2, 32), f"{layer}.lora_B.weight": torch.randn(32, 2)}
    file = tmp_path / "lora.safetensors"
    save_file(tensors, file, metadata={"lora_adapter_metadata": json.dumps(metadata)})
    pipeline = pipeline_of(models, "sd1")
    with pytest.raises(BadInputError, match=sentence):
        fuse_loras(pipeline, [Lora(str(file), 1.0)], of(pipeline))


def test_a_change_for_which_the_models_numbers_do_not_suffice_is_blamed_on_its_file(models, tmp_path):
    tensors = {f"{FLAT_TO_Q}.diff": torch.full((32, 32), 1e5)}
    file = tmp_path / "strong.safetensors"
    save_file(tensors, file)
    pipeline = pipeline_of(models, "sd1")
    pipeline.unet.half()
    with pytest.raises(BadInputError, match=r'With the LoRA "strong.safetensors" weights .* become NaN or infinite'):
        fuse_loras(pipeline, [Lora(str(file), 1.0)], of(pipeline))


def test_several_add_up_and_a_weight_of_zero_changes_nothing(models, tmp_path):
    pipeline = pipeline_of(models, "sd1")
    files = [tmp_path / f"{index}.safetensors" for index in range(3)]
    changes = [kohya_lora(pipeline, file, seed) for seed, file in enumerate(files)]
    before = weights_of(pipeline)
    weights = (0.5, -1.0, 0.0)
    fuse_loras(pipeline, [Lora(str(file), weight) for file, weight in zip(files, weights, strict=True)], of(pipeline))
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


def test_a_missing_file_is_reported_before_the_model_is_loaded(models, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "_load_folder", lambda *_: pytest.fail("the model was loaded first"))
    with pytest.raises(BadInputError, match="does not exist"):
        load_prior(str(models["sd1"]), CPU, [Lora(str(tmp_path / "nothing.safetensors"), 1.0)])


def test_a_lora_of_another_model_is_refused(models, tmp_path):
    def load(file):
        load_prior(str(models["sd1"]), CPU, [Lora(str(file), 1.0)])

    with pytest.raises(BadInputError, match="does not exist"):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(BadInputError, match="is a folder"):
        load(tmp_path)
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
    with pytest.raises(BadInputError, match="not a LoRA"):
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
