"""The recognition of files by their headers, and that no header does harm."""

import json
import random
import re
import struct
from pathlib import Path

import pytest
from headers import FILES, FIRST, SD1, SD2, SD3, SDXL, VAE, write_file

from sdi_engine.config.parameters import NO_PARTS
from sdi_engine.diffusion import parts
from sdi_engine.diffusion.header import check_lora, is_harmless, read_header, read_shapes, weight_files
from sdi_engine.errors import BadInputError, IncompleteModelError


def family(file):
    return parts.check(str(file), NO_PARTS).family.name


@pytest.mark.parametrize("name", FILES)
def test_families(name, tmp_path):
    assert family(write_file(tmp_path / "dream.safetensors", FILES[name])) == name


@pytest.mark.parametrize(
    ("file", "missing", "sentence"),
    [
        (SD1, "first_stage_model.", "lacks its VAE:"),
        (SD1, "cond_stage_model.", "lacks its text encoder:"),
        (SD2, "cond_stage_model.", "lacks its text encoder:"),
        (SDXL, "conditioner.embedders.0.", "lacks its first text encoder:"),
        (SDXL, "conditioner.embedders.1.", "lacks its second text encoder:"),
        (SDXL, "conditioner.", "lacks its first text encoder and its second text encoder:"),
        (SD3, "text_encoders.clip_g.", "lacks its second text encoder:"),
        (SD3, "text_encoders.", "lacks its first text encoder and its second text encoder:"),
    ],
)
def test_missing_parts_are_named(file, missing, sentence, tmp_path):
    more = {"model.diffusion_model.label_emb.0.0.weight": (1280, 2816)} if file is SDXL else {}
    rest = {name: shape for name, shape in {**file, **more}.items() if not name.startswith(missing)}
    with pytest.raises(BadInputError, match=rf"dream\.safetensors\" {sentence}"):
        family(write_file(tmp_path / "dream.safetensors", rest))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["double_blocks.0.img_attn.qkv.weight"], "FLUX"),
        (["transformer_blocks.0.attn.to_q.weight", "single_transformer_blocks.0.attn.to_q.weight"], "FLUX"),
        (["model.diffusion_model.blocks.0.cross_attn.q.weight"], "video model"),
        (["resolution_embedder.0.weight"], r"is of a PRXPixel model, .* folder in Diffusers layout"),
        (["layers.0.adaLN_modulation.1.weight", "cap_embedder.0.weight"], "is a Lumina model"),
        (["blocks.0.cross_attn.kv_linear.weight", "blocks.0.attn.qkv.weight"], "or another transformer"),
        (["model.layers.0.self_attn.q_proj.weight"], r"only a text encoder \(a language model\)"),
        (["control_model.input_blocks.0.0.weight"], "is a ControlNet"),
        (["controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"], "is a ControlNet"),
        (["controlnet_blocks.0.weight", "single_transformer_blocks.0.norm.linear.weight"], "is a ControlNet"),
        (["controlnet_blocks.0.weight", "transformer_blocks.0.img_mlp.net.0.proj.weight"], "is a ControlNet"),
        (["input_hint_block.0.weight", "double_blocks.0.img_mod.lin.weight"], "is a ControlNet"),
        (["x_embedder.proj.weight", "blocks.0.cross_attn.kv_linear.weight"], "or another transformer"),
        (["x_embedder.proj.weight", "blocks.0.attn1.Wqkv.weight"], "is a HunyuanDiT model"),
        (["x_embedder.proj.weight", "double_stream_blocks.0.block.ff_i.gate.weight"], "is a HiDream model"),
        (["x_embedder.proj.weight", "t5_yproj.weight"], "is a video model"),
        (["double_blocks.0.img_mod.lin.weight", "txt_in.individual_token_refiner.x.weight"], "is a HunyuanVideo or"),
        (["double_blocks.0.processor.ip_adapter_k.weight"], "is an IP-Adapter"),
        (["vision_model.encoder.layers.0.self_attn.q_proj.weight"], "is only an image encoder"),
        (["conv_first.weight", "body.0.rdb1.conv1.weight"], "is an upscaler"),
        (["down_blocks.0.motion_modules.0.norm.weight"], "AnimateDiff"),
        (["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"], "is only a U-Net"),
        (["decoder.conv_in.weight"], "is only a VAE"),
        (["first_stage_model.decoder.mid.block_1.conv1.weight"], "is only a VAE"),
        (["text_model.encoder.layers.0.mlp.fc1.weight"], "is only a text encoder"),
        (["shared.weight", "encoder.block.0.layer.0.layer_norm.weight"], r"only a text encoder \(T5\)"),
        (["emb_params"], "embedding"),
        (["clip_g", "clip_l"], "embedding"),
        (["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"], "is a LoRA"),
        (["weight"], "does not contain a diffusion model"),
    ],
)
def test_other_kinds_of_files_are_named(names, sentence, tmp_path):
    file = write_file(tmp_path / "file.safetensors", dict.fromkeys(names, (1, 1)))
    with pytest.raises(BadInputError, match=sentence):
        family(file)
    if "LoRA" not in sentence:
        with pytest.raises(BadInputError, match=rf"({sentence}|not a LoRA)"):
            check_lora(file)


def test_a_path_to_a_lora_that_is_longer_than_paths_can_be_is_none():
    with pytest.raises(BadInputError, match="does not exist"):
        check_lora(Path("/") / f"{'a' * 5000}.safetensors")


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_x.lora_up.weight",
        "unet.x.lora_A.weight",
        "lycoris_x.diff",
        "lora_unet_x.hada_w1_a",
        "unet.x.ia3_l",
        "x.lokr_w1",
        "lora_unet_x.w_norm",
    ],
)
def test_every_format_of_a_lora_is_one(name, tmp_path):
    check_lora(write_file(tmp_path / "file.safetensors", {name: (1,)}))


@pytest.mark.parametrize(
    ("more", "dtypes", "sentence"),
    [
        ({f"{FIRST}.absmax": (9,), f"{FIRST}.quant_state.bitsandbytes__nf4": (9,)}, {FIRST: "U8"}, "bitsandbytes"),
        ({"model.diffusion_model.x.qweight": (9,)}, {}, "Nunchaku"),
        ({}, {FIRST: "I8"}, "to I8, such as"),
        ({FIRST.replace("weight", "scale_weight"): (7,)}, {FIRST: "F8_E4M3"}, "in blocks"),
        ({FIRST.replace("weight", "weight_scale"): (320,)}, {FIRST: "F16"}, "in blocks, or to a format other than"),
        ({FIRST.replace("weight", "weight_scale_2"): (1,)}, {FIRST: "U8"}, "NVFP4"),
        ({"model.diffusion_model.other.scale_weight": (1,)}, {}, "in blocks, or to a format other than"),
    ],
)
def test_quantized_weights_are_refused_with_the_reason(more, dtypes, sentence, tmp_path):
    with pytest.raises(BadInputError, match=rf"quantized.*{sentence}"):
        family(write_file(tmp_path / "dream.safetensors", {**SD1, **more}, dtypes))


def test_weights_in_8_bit_floats_with_their_scales_are_no_hindrance(tmp_path):
    layer = FIRST.removesuffix(".weight")
    scales = {f"{layer}.scale_weight": (), f"{layer}.scale_input": (), "scaled_fp8": (2,)}
    dtypes = {FIRST: "F8_E4M3", f"{layer}.scale_weight": "F32", "scaled_fp8": "F8_E4M3"}
    assert family(write_file(tmp_path / "dream.safetensors", {**SD1, **scales}, dtypes)) == "sd1"


def test_names_of_older_files_and_of_other_programs(tmp_path):
    older = {name.replace("text_model.", ""): shape for name, shape in SD1.items()}
    older = {name.replace("first_stage_model.", "vae."): shape for name, shape in older.items()}
    assert family(write_file(tmp_path / "novelai.safetensors", older)) == "sd1"


@pytest.mark.parametrize(
    ("there", "read"),
    [
        (["a.safetensors", "a.fp16.safetensors"], ["a.safetensors"]),
        (["a.safetensors", "a.non_ema.safetensors"], ["a.safetensors"]),
        (["a.fp16.safetensors", "a.non_ema.safetensors"], ["a.fp16.safetensors"]),
        (["a-1-of-2.safetensors", "a-2-of-2.safetensors", "a.fp16.safetensors"], ["a-1-of-2.safetensors"] * 2),
        (["a.fp16-1-of-2.safetensors", "a.fp16-2-of-2.safetensors"], ["a.fp16-1-of-2.safetensors"] * 2),
        (["flux1.dev.safetensors"], ["flux1.dev.safetensors"]),
    ],
)
def test_of_a_network_in_two_precisions_the_full_one_is_looked_at(there, read, tmp_path):
    """As Diffusers and Transformers read a folder."""
    for name in there:
        write_file(tmp_path / name, {name: (1,)})
    read = [name.replace("1-of", f"{number + 1}-of") for number, name in enumerate(read)]
    assert [file.name for file in weight_files(tmp_path)] == read
    assert sorted(read_header(tmp_path)) == read


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
HALVES = [name.replace("model", "model.fp16") for name in SHARDS]
OLD_HALVES = [name.replace(".", ".fp16.") for name in SHARDS]
INDEX, HALF_INDEX = "model.safetensors.index.json", "model.safetensors.index.fp16.json"


@pytest.mark.parametrize(
    ("there", "indexes", "read"),
    [
        (SHARDS, {INDEX: SHARDS}, SHARDS),
        ([*SHARDS, "model.safetensors"], {}, ["model.safetensors"]),
        ([*SHARDS, "model.safetensors"], {INDEX: SHARDS}, SHARDS),
        ([*SHARDS, *HALVES], {INDEX: SHARDS, HALF_INDEX: HALVES}, SHARDS),
        (HALVES, {INDEX: SHARDS, HALF_INDEX: HALVES}, HALVES),
        (OLD_HALVES, {"model.safetensors.fp16.index.json": OLD_HALVES}, OLD_HALVES),
        (["model.fp16.safetensors"], {INDEX: SHARDS}, ["model.fp16.safetensors"]),
        (["model.fp16.safetensors", "open_clip_model.safetensors"], {}, ["model.fp16.safetensors"]),
    ],
)
def test_of_several_files_those_are_read_that_an_index_names(there, indexes, read, tmp_path):
    write_weights(tmp_path, there, indexes)
    assert [file.name for file in weight_files(tmp_path)] == read


@pytest.mark.parametrize(
    ("there", "indexes", "lacking"),
    [
        (SHARDS, {}, "the index of .*model-00001.* and 1 more"),
        (SHARDS[:1], {INDEX: SHARDS}, SHARDS[1]),
        ([], {INDEX: SHARDS}, SHARDS[0]),
        (["model.safetensors"], {INDEX: SHARDS}, SHARDS[0]),
        (HALVES[:1], {HALF_INDEX: HALVES}, HALVES[1]),
        (HALVES, {}, "the index of"),
        (OLD_HALVES, {}, "the index of"),
    ],
)
def test_a_folder_that_was_downloaded_in_part_is_refused(there, indexes, lacking, tmp_path):
    write_weights(tmp_path, there, indexes)
    (tmp_path / f"{SHARDS[1]}.incomplete").touch()
    with pytest.raises(IncompleteModelError, match=f"lacks .*{lacking}.*: download the model again"):
        weight_files(tmp_path)


@pytest.mark.parametrize("index", ["", '{"weight_map": {"a": "mod', '{"weight_map": []}', "{}"])
def test_a_damaged_index_is_refused(index, tmp_path):
    write_weights(tmp_path, SHARDS, {})
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(BadInputError, match=r"index\.json\" is damaged: delete it"):
        weight_files(tmp_path)


def write_weights(folder, names, indexes):
    for name in names:
        write_file(folder / name, {name: (1,)})
    for name, files in indexes.items():
        (folder / name).write_text(json.dumps({"weight_map": {file: file for file in files}}))


@pytest.mark.parametrize(
    ("kept", "said"), [(0, "it is empty"), (4, "does not start"), (40, "truncated"), (-1, "truncated")]
)
def test_a_file_that_is_cut_off_is_told_to_be(kept, said, tmp_path):
    file = write_file(tmp_path / "dream.safetensors", SD1)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BadInputError, match=said):
        read_header(file)


@pytest.mark.parametrize(
    "name",
    [
        "betas",
        "alphas_cumprod_prev",
        "model_ema.decay",
        "a.b.position_ids",
        "x.logit_scale",
        "ztsnr",
        "emb_params",
        "x.attn_mask",
    ],
)
def test_harmless(name):
    assert is_harmless(name)
    assert not is_harmless(f"model.diffusion_model.{name}.weight")


def entry(dtype="F16", shape=(2, 2), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "header",
    [
        '{"a": ' + json.dumps(entry()) + ', "a": ' + json.dumps(entry()) + "}",
        json.dumps({"a": entry(), "b": entry(offsets=[4, 12])}),
        json.dumps({"a": entry(offsets=[8, 0])}),
        json.dumps({"a": entry(offsets=[-8, 0])}),
        json.dumps({"a": entry(shape=[-2, -2])}),
        json.dumps({"a": entry(shape=[2.0, 2.0])}),
        json.dumps({"a": entry(shape=[True, 4])}),
        json.dumps({"a": entry(shape=[2, 3])}),
        json.dumps({"a": entry(shape=[10**400, 1])}),
        json.dumps({"a": entry(shape="22")}),
        json.dumps({"a": entry(dtype="F17")}),
        json.dumps({"a": entry(dtype=["F16"])}),
        json.dumps({"a": entry(offsets=[0, 4, 8])}),
        json.dumps({"a": entry(offsets=[0, float("nan")])}),
        json.dumps({"a": entry(offsets=[0, float("inf")])}),
        json.dumps({"a": entry(offsets=None)}),
        json.dumps({"a": None}),
        json.dumps([entry()]),
        "[" * 100_000,
        "7" * 5000,
        '{"a": "\\ud800"}',
    ],
)
def test_invalid_headers(header, tmp_path):
    file = tmp_path / "dream.safetensors"
    text = header.encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    with pytest.raises(BadInputError, match="damaged"):
        read_shapes(file)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "only a pointer, which Git LFS puts"),
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "it is a web page"),
        (b"GGUF" + bytes(60), "does not start like a safetensors file"),
    ],
)
def test_what_was_downloaded_in_the_place_of_a_file_is_named(content, sentence, tmp_path):
    file = tmp_path / "dream.safetensors"
    file.write_bytes(content)
    with pytest.raises(BadInputError, match=sentence):
        read_header(file)


def test_a_file_that_is_longer_than_its_tensors_is_refused(tmp_path):
    """As its library would, which does not say of which file."""
    file = write_file(tmp_path / "dream.safetensors", SD1)
    with file.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(BadInputError, match=r"dream\.safetensors.* goes on after its last tensor"):
        read_shapes(file)


def test_a_damaged_file_of_the_hubs_cache_has_to_go_before_it_is_downloaded_again(tmp_path):
    model = tmp_path / "hub" / "models--owner--name"
    file = model / "snapshots" / "0" / "unet" / "diffusion_pytorch_model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"cut")
    with pytest.raises(BadInputError, match=re.escape(f'delete the folder "{model}", so that the model is downloaded')):
        read_shapes(file)


def test_a_huge_header_is_not_read(tmp_path):
    """Even if the file is as long as the header says."""
    file = tmp_path / "dream.safetensors"
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", 2**30))
        stream.truncate(2**30 + 16)
    with pytest.raises(BadInputError, match="does not start"):
        read_shapes(file)


def test_names_cannot_write_on_a_terminal(tmp_path):
    name = "model.diffusion_model.\x1b[2J\n" + "x" * 500 + ".weight"
    with pytest.raises(BadInputError) as caught:
        family(write_file(tmp_path / "dream.safetensors", {**SD1, name: (1,)}, {name: "I8"}))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_two_thousand_damaged_headers_get_a_sentence_each(tmp_path):
    """Bytes changed, removed or doubled: the file is recognised or refused, and nothing else happens."""
    rng = random.Random(0)
    file = write_file(tmp_path / "dream.safetensors", {**VAE, FIRST: (2, 4, 1, 1), "a": (2,)})
    good = file.read_bytes()[:500]
    refused = 0
    for _ in range(2000):
        content = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(content))
            action = rng.randrange(3)
            if action == 0:
                content[place] = rng.randrange(256)
            elif action == 1:
                del content[place : place + rng.randint(1, 9)]
            else:
                content[place:place] = content[place : place + rng.randint(1, 9)]
        file.write_bytes(content)
        try:
            family(file)
        except BadInputError:
            refused += 1
    assert refused == 2000  # even a recognised one is not a complete model
