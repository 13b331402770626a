"""Models with weights in few bits: how far their predictions are from those of the same model in 32 bits.

`pytest -s` prints the table of errors.
"""

import copy
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline
from gguf import GGMLQuantizationType, quants
from gguf_files import random_blocks, write_gguf, write_k_quants
from lora_files import low_rank
from original_layout import renamed, write_single_file
from packed_files import FORMATS
from safetensors.torch import load_file, save_file
from tiny_models import write_stable_diffusion
from wide_models import WRITERS, write_wide

from sdi_engine.cli import commands as cli
from sdi_engine.config.parameters import Parts
from sdi_engine.contract.request import Lora
from sdi_engine.diffusion import families
from sdi_engine.diffusion.gguf_header import READ_BLOCKS
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.loras import fuse_loras
from sdi_engine.diffusion.networks import fill
from sdi_engine.diffusion.packed import GgufWeight, PackedLayer, take_packed
from sdi_engine.diffusion.packed_on_loading import check_library, pack_denoiser
from sdi_engine.diffusion.parts import network_at, plan
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.diffusion.read_share import told
from sdi_engine.diffusion.tensors import open_tensors
from sdi_engine.distillation.ddim import ddim_trajectory
from sdi_engine.distillation.noise import CHOICES_2D, Context
from sdi_engine.errors import BadInputError, EnvironmentMissingError
from sdi_engine.service.keeper import KeptPrior
from sdi_engine.studies.distill2d import score_distillation
from sdi_engine.studies.sampling import starting_noise

CPU = torch.device("cpu")
RESOLUTION = 32
PROMPTS = ["a red mug", "a blue car, side view"]

BOUNDS = {
    "fp8 e4m3": 0.2,
    "fp8 e5m2": 0.4,
    "fp8 scaled": 0.2,
    "fp8 scaled by row": 0.2,
    "GGUF Q8_0": 0.05,
    "GGUF Q4_0": 0.6,
    "GGUF F16": 0.01,
    "8-bit": 0.05,
    "4-bit": 0.6,
}
"""The largest error that is allowed, as a share of the prediction's size: several times what was measured."""


def is_packed(module):
    """Whether any of a network's weights is packed."""
    return any(isinstance(each, PackedLayer) for each in module.modules())


@pytest.fixture(scope="module", params=WRITERS)
def model(request, tmp_path_factory):
    """The name of a family, its entry, the pipeline of a tiny model of it, and the prior of that in 32 bits."""
    folder = write_wide(request.param, tmp_path_factory.mktemp("models") / "model")
    absent = {"text_encoder_3": None, "tokenizer_3": None} if request.param == "SD 3.5" else {}
    pipeline = DiffusionPipeline.from_pretrained(folder, **absent)
    family = families.of_pipeline(type(pipeline).__name__)
    return request.param, family, pipeline, family.prior(pipeline, ModelHints(resolution=RESOLUTION), CPU)


def with_denoiser(model, denoiser):
    """A prior of the model with another denoiser."""
    _, family, pipeline, exact = model
    settings = {name: value for name, value in pipeline.config.items() if name == "is_distilled"}
    other = type(pipeline)(**pipeline.components | {family.denoiser: denoiser}, **settings)
    prior = family.prior(other, ModelHints(resolution=RESOLUTION), CPU)
    prior.texts_read = exact.texts_read
    return prior


def from_file(model, how, path: Path, keep_packed: bool = True):
    """The model's denoiser by way of a file in some format."""
    _, family, pipeline, _ = model
    own = getattr(pipeline, family.denoiser)
    file = FORMATS[how](renamed(own, family.layout(own)), path)
    with init_empty_weights(include_buffers=False):
        denoiser = type(own).from_config(own.config)
    layout = family.layout(denoiser)
    with open_tensors(file) as tensors:
        if keep_packed:
            layout = take_packed(denoiser, layout, tensors, torch.float32, CPU)
        fill(file, denoiser, layout, tensors, torch.float32, ())
    return denoiser


def packed(model, how, path: Path):
    """The same, or packed on loading."""
    if how in FORMATS:
        return from_file(model, how, path)
    _, family, pipeline, _ = model
    denoiser = copy.deepcopy(getattr(pipeline, family.denoiser))
    assert pack_denoiser(denoiser, how, CPU) == []
    return denoiser


def predicted(prior):
    channels, rows, columns = prior.latent_shape(RESOLUTION)
    x = torch.randn(2, channels, rows, columns, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return prior.predict(x, torch.tensor([0.4, 0.9]), prior.condition(PROMPTS, "ugly"), 3.0).noise


def test_error_of_the_prediction(model, tmp_path):
    exact = predicted(model[-1])
    for index, (how, bound) in enumerate(BOUNDS.items()):
        denoiser = packed(model, how, tmp_path / f"model{index}")
        prior = with_denoiser(model, denoiser)
        found = predicted(prior)
        error = ((found - exact).norm() / exact.norm()).item()
        layers = sum(isinstance(layer, PackedLayer) for layer in denoiser.modules())
        print(f"{model[0]:14} {how:18} {layers:3} layers packed, error of the prediction {error:.1e}")
        assert is_packed(denoiser) == (how != "GGUF F16")
        assert 0.0 < error < bound
    assert torch.equal(found, predicted(prior))  # κ by inversion needs the same answer every time


@pytest.mark.parametrize("model", ["SDXL", "SD 3.5", "FLUX.1"], indirect=True, scope="module")
@pytest.mark.parametrize("how", ["fp8 scaled by row", "GGUF Q5_1"])
def test_a_layer_at_a_time_is_the_same_as_all_at_once(how, model, tmp_path):
    """Of a U-Net, and where rows of one tensor become several layers, as those of the other families do."""
    once, layers = (from_file(model, how, tmp_path / str(keep), keep) for keep in (False, True))
    assert is_packed(layers)
    assert not is_packed(once)
    torch.testing.assert_close(
        predicted(with_denoiser(model, layers)), predicted(with_denoiser(model, once)), atol=1e-5, rtol=1e-5
    )


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    """As `model`, of FLUX.1."""
    folder = write_wide("FLUX.1", tmp_path_factory.mktemp("models") / "model")
    pipeline = DiffusionPipeline.from_pretrained(folder)
    family = families.FLUX
    return "FLUX.1", family, pipeline, family.prior(pipeline, ModelHints(resolution=RESOLUTION), CPU)


LORA_LAYERS = {
    "lora_unet_double_blocks_0_img_attn_qkv": (96, 32),
    "lora_unet_double_blocks_0_txt_mlp_2": (32, 128),
    "lora_unet_img_in": (32, 16),
}


def fused(pipeline, denoiser, tensors, file):
    save_file(tensors, file)
    fuse_loras(
        SimpleNamespace(**pipeline.components | {"transformer": denoiser}), [Lora(str(file), 0.5)], families.FLUX
    )
    return denoiser


@pytest.mark.parametrize("how", ["fp8 scaled by row", "GGUF Q8_0"])
def test_a_lora_beside_packed_weights_is_as_one_added_to_what_they_stand_for(how, flux, tmp_path):
    tensors = low_rank(LORA_LAYERS, ("lora_down.weight", "lora_up.weight"), alpha=1.5)
    layers, once = (from_file(flux, how, tmp_path / str(keep), keep) for keep in (True, False))
    without = predicted(with_denoiser(flux, layers))
    beside = predicted(with_denoiser(flux, fused(flux[2], layers, tensors, tmp_path / "lora.safetensors")))
    added = predicted(with_denoiser(flux, fused(flux[2], once, tensors, tmp_path / "lora.safetensors")))
    assert (beside - without).norm() > 0.1 * without.norm()
    torch.testing.assert_close(beside, added, atol=1e-4 * added.abs().max().item(), rtol=0.0)


def test_a_lora_that_changes_whole_weights_is_refused_for_packed_ones(flux, tmp_path):
    layers = from_file(flux, "fp8 e4m3", tmp_path / "model")
    tensors = {"lora_unet_double_blocks_0_img_mlp_2.diff": torch.ones(32, 128)}
    with pytest.raises(BadInputError, match=r"changes whole weights .* are quantized: only what is of low rank"):
        fused(flux[2], layers, tensors, tmp_path / "lora.safetensors")
    assert fused(flux[2], from_file(flux, "fp8 e4m3", tmp_path / "m", False), tensors, tmp_path / "lora.safetensors")


@pytest.mark.parametrize("how", ["fp8 scaled", "GGUF Q4_0", "8-bit", "4-bit"])
def test_gradients_reach_the_latents(how, flux, tmp_path):
    """As they do where κ is found by descent: those of the same weights unpacked."""
    layers = packed(flux, how, tmp_path / "model")
    plain = from_file(flux, how, tmp_path / "all", False) if how in FORMATS else copy.deepcopy(flux[2].transformer)
    for name, layer in layers.named_modules():
        if isinstance(layer, PackedLayer):
            plain.get_submodule(name).weight.data = layer.weight
    found = []
    for denoiser in (layers, plain):
        prior = with_denoiser(flux, denoiser)
        x = torch.randn(1, *prior.latent_shape(RESOLUTION), generator=torch.Generator().manual_seed(3)).requires_grad_()
        prior.predict_unguided(x, torch.tensor([0.5]), prior.text(PROMPTS[:1])).noise.square().sum().backward()
        found.append(x.grad)
    assert found[0].norm() > 0.0
    torch.testing.assert_close(*found, atol=1e-4 * found[1].abs().max().item(), rtol=0.0)


def test_with_cached_noise_score_distillation_is_ddim(flux, tmp_path):
    prior = with_denoiser(flux, packed(flux, "GGUF Q4_0", tmp_path / "model"))
    times = torch.cat([torch.ones(1), prior.sampling_times(4)])
    conditioning = prior.condition(["a mug"])
    x = starting_noise(prior, [0], RESOLUTION)

    def cached(x0, t, previous):
        return CHOICES_2D["cached"](None, x0, t, None, Context(0.0, 0.0, None, None, 0, previous))

    ddim = ddim_trajectory(prior, x, times, conditioning, 3.5)
    distilled = score_distillation(prior, x, times, conditioning, 3.5, cached)
    for one, other in zip(ddim, distilled, strict=True):
        assert (one.x0 - other.x0).abs().max() <= 1e-4


def test_nan_in_packed_weights_is_told(flux, tmp_path):
    tensors = renamed(flux[2].transformer, families.FLUX.layout(flux[2].transformer))
    name = "model.diffusion_model.double_blocks.0.img_mlp.0.weight"
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    file = FORMATS["fp8 e4m3"](tensors, tmp_path / "model")
    with init_empty_weights(include_buffers=False):
        denoiser = type(flux[2].transformer).from_config(flux[2].transformer.config)
    with open_tensors(file) as opened:
        rest = take_packed(denoiser, families.FLUX.layout(denoiser), opened, torch.float32, CPU)
        with pytest.raises(BadInputError, match=r"NaN or infinite \(in .*img_mlp\.0\.weight"):
            fill(file, denoiser, rest, opened, torch.float32, ())


@pytest.mark.parametrize(
    ("module", "how", "sentence"),
    [
        ("bitsandbytes", "4-bit", r"packs a model to 4-bit: install it \(pip"),
        ("gguf", "GGUF Q8_0", r'reads "model\.gguf": install it \(pip install'),
    ],
)
def test_a_missing_package_is_named(module, how, sentence, flux, tmp_path, monkeypatch):
    packed(flux, how, tmp_path / "model")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EnvironmentMissingError, match=sentence):
        packed(flux, how, tmp_path / "model")


@pytest.mark.parametrize("kind", READ_BLOCKS)
def test_blocks_of_gguf_stand_for_what_its_own_package_reads_in_them(kind):
    """Random blocks, since the package cannot quantize to the most distributed kinds."""
    blocks = random_blocks(kind, 8, 512, np.random.default_rng(0))
    theirs = torch.from_numpy(quants.dequantize(blocks, GGMLQuantizationType[kind]))
    weight = GgufWeight(torch.from_numpy(blocks), kind, (8, 512))
    assert theirs.std() > 1e-4
    torch.testing.assert_close(weight.unpacked(torch.float32), theirs, atol=1e-7, rtol=1e-6)
    half = weight.unpacked(torch.bfloat16).float()
    torch.testing.assert_close(half, theirs, atol=0.02 * theirs.abs().max().item(), rtol=0.01)
    top, rest = weight.split([3, 5])
    assert torch.equal(
        torch.cat([top.unpacked(torch.float32), rest.unpacked(torch.float32)]), weight.unpacked(torch.float32)
    )


def test_a_transformer_in_k_quants_predicts_what_they_stand_for(tmp_path):
    folder = write_wide("FLUX.1 in blocks of 256", tmp_path / "dream")
    exact = load_prior(str(folder), CPU)
    tensors = renamed(exact._denoiser, families.FLUX.layout(exact._denoiser, ""))
    meant = write_k_quants(folder.with_suffix(".gguf"), tensors)
    save_file({name: tensor.contiguous().clone() for name, tensor in meant.items()}, folder.with_suffix(".safetensors"))
    rest = Parts(str(folder / "vae"), tuple(str(encoder) for encoder in sorted(folder.glob("text_encoder*"))))
    packed, plain = (load_prior(f"{folder}{suffix}", CPU, (), rest) for suffix in (".gguf", ".safetensors"))
    assert sum(isinstance(layer, PackedLayer) for layer in packed._denoiser.modules()) > 15
    assert not is_packed(plain._denoiser)
    found, expected = predicted(packed), predicted(plain)
    assert (expected - predicted(exact)).norm() > 0.1 * expected.norm()  # other weights than before
    torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-5)


@pytest.mark.parametrize("name", ["FLUX.1", "Z-Image"])
def test_a_gguf_transformer_with_the_rest_from_a_folder(name, tmp_path):
    folder = write_wide(name, tmp_path / "dream")
    exact = load_prior(str(folder), CPU)
    family = families.of_pipeline(DiffusionPipeline.load_config(folder)["_class_name"])
    transformer = exact._denoiser
    file = FORMATS["GGUF Q8_0"](renamed(transformer, family.layout(transformer, "")), folder)
    rest = Parts(str(folder / "vae"), tuple(str(encoder) for encoder in sorted(folder.glob("text_encoder*"))))
    assert plan(str(file), rest).family is family
    shares: list[float] = []
    with told(shares.append):
        prior = load_prior(str(file), CPU, (), rest)
    assert len(set(shares)) > 10
    assert shares[-1] == pytest.approx(1.0, abs=0.03)
    assert is_packed(prior._denoiser)
    error = ((predicted(prior) - predicted(exact)).norm() / predicted(exact).norm()).item()
    print(f"{name:14} loaded from a GGUF file, error of the prediction {error:.1e}")
    assert 0.0 < error < BOUNDS["GGUF Q8_0"]


def test_a_text_encoder_in_the_gguf_format_is_refused(tmp_path):
    file = write_gguf(tmp_path / "t5.gguf", {"token_embd.weight": torch.ones(2, 32)})
    with pytest.raises(BadInputError, match="GGUF format, which is read for the transformer of a model only"):
        network_at(file)
    with pytest.raises(BadInputError, match="is only a text encoder"):
        load_prior(str(file), CPU)


@pytest.mark.usefixtures("small_pictures")
def test_sample_distill2d_and_generate_with_a_file_in_8_bit_floats(tmp_path):
    """Of Stable Diffusion, with everything in it, as an artist has it."""
    single = write_single_file(write_stable_diffusion(tmp_path / "folder"), tmp_path / "dream.safetensors")
    FORMATS["fp8 scaled"](load_file(single), single)
    few = ["--steps", "2", "--model", str(single), "--device", "cpu", "--json"]
    assert cli.main(["sample", "a red mug", "-o", str(tmp_path / "sample"), "--count", "1", *few]) == 0
    assert cli.main(["distill2d", "a red mug", "-o", str(tmp_path / "distilled"), *few]) == 0
    assert json.loads((tmp_path / "distilled" / "result.json").read_text())["largest_difference"] <= 1e-4
    coarse = {"mesh_resolution": 16, "samples_per_ray": 8, "occupancy_resolution": 8}
    numbers = [word for name, value in coarse.items() for word in ("--set", f"{name}={value}")]
    numbers += ["--texture-size", "64", "--face-budget", "500"]
    assert cli.main(["generate", "a red mug", "--preset", "draft", "-o", str(tmp_path / "job"), *few, *numbers]) == 0
    assert (tmp_path / "job" / "mesh.glb").is_file()


def test_a_person_chooses_the_precision(tmp_path):
    """Through what keeps a loaded model: another precision is another model, and what goes with it is recorded."""
    folder = write_wide("FLUX.1", tmp_path / "dream")
    kept = KeptPrior()
    exact, eight = kept.load(str(folder), CPU), kept.load(str(folder), CPU, precision="8-bit")
    assert (exact.packed, eight.packed) == ("full", "8-bit")
    assert is_packed(eight._denoiser)
    assert not is_packed(exact._denoiser)
    assert kept.load(str(folder), CPU, precision="8-bit") is eight
    error = ((predicted(eight) - predicted(exact)).norm() / predicted(exact).norm()).item()
    assert 0.0 < error < BOUNDS["8-bit"]
    four = load_prior(str(folder), CPU, bits="4-bit")
    assert four.packed == "4-bit"


def test_what_is_quantized_in_its_file_or_has_nothing_to_pack_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    single = write_single_file(write_stable_diffusion(tmp_path / "folder"), tmp_path / "dream.safetensors")
    with pytest.raises(EnvironmentMissingError, match=r"packs a model to 8-bit: install it .* the precision auto"):
        load_prior(str(single), CPU, bits="8-bit")
    FORMATS["fp8 scaled"](load_file(single), single)
    prior = load_prior(str(single), CPU, bits="8-bit")
    assert prior.packed == "full"
    assert any("quantized in its file already" in notice for notice in prior.notices)
    (said,) = pack_denoiser(torch.nn.Sequential(torch.nn.Linear(8, 8)), "8-bit", CPU)
    assert said.startswith("Nothing of this model can be packed to 8-bit")


def test_nobody_is_advised_to_install_what_packing_does_not_need():
    check_library("8-bit")
    assert not logging.getLogger("bitsandbytes.backends").isEnabledFor(logging.WARNING)
