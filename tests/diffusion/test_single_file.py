import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, SD3Transformer2DModel, UNet2DConditionModel
from exact_prior import ExactPrior, ball_images
from original_layout import original_layout, renamed, write_single_file
from safetensors.torch import load_file, save_file
from tiny_models import tiny_tokenizer, write_sd3, write_sdxl, write_stable_diffusion
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sdi_engine.diffusion import families, single_file
from sdi_engine.diffusion.clip_tokenizer import clip_tokenizer
from sdi_engine.diffusion.counted_prior import CountedPrior
from sdi_engine.diffusion.families import CONFIGS, SD2
from sdi_engine.diffusion.header import family_of
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.original_names import sd3_layout, sd3_transformer_shape
from sdi_engine.diffusion.prior import Prediction
from sdi_engine.diffusion.single_file import (
    load_single_file,
    predicts_velocity,
    set_velocity,
)
from sdi_engine.diffusion.unet_prior import configure
from sdi_engine.errors import BadInputError
from sdi_engine.run.text_to_mesh import tell_how_it_reads

CPU = torch.device("cpu")
FAMILIES = {
    "sd1": write_stable_diffusion,
    "sd2": lambda folder: write_stable_diffusion(folder, "v_prediction", version=2),
    "sdxl": write_sdxl,
    "sd3": write_sd3,
    "sd3.5": lambda folder: write_sd3(folder, version=3.5),
}


def assert_same(one, other):
    """Check that two priors give the same predictions."""
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    images, t = torch.rand(1, 3, 16, 16), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        predictions = [prior.predict(x, t, prior.condition(["a red mug", "b"]), 3.0) for prior in (one, other)]
        torch.testing.assert_close(predictions[0].x0, predictions[1].x0, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(predictions[0].noise, predictions[1].noise, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.encode(images), other.encode(images))
        torch.testing.assert_close(one.decode(x), other.decode(x))


@pytest.mark.parametrize("family", FAMILIES)
def test_file_with_its_configuration_beside_it(family, tmp_path):
    folder = FAMILIES[family](tmp_path / "folder")
    file = write_single_file(folder, tmp_path / "dream.v2.safetensors")
    assert_same(load_prior(str(file), CPU), load_prior(str(folder), CPU))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_comes_to_where_diffusers_own_loader_puts_it(family, tmp_path):
    """That loader is the reference for our names."""
    file = write_single_file(FAMILIES[family](tmp_path / "folder"), tmp_path / "dream.safetensors")
    kind = DiffusionPipeline.load_config(file.with_suffix(""))["_class_name"]
    absent = {"text_encoder_3": None, "tokenizer_3": None} if family.startswith("sd3") else {}
    shape = {}
    if family == "sd3.5":  # Diffusers takes this from the configuration
        shape["transformer"] = SD3Transformer2DModel.from_single_file(
            str(file), config=str(file.with_suffix("")), subfolder="transformer"
        )
    theirs = getattr(diffusers, kind).from_single_file(str(file), config=str(file.with_suffix("")), **absent, **shape)
    loaded = load_single_file(file, CPU)
    ours = {**loaded.pipeline.components, **loaded.read_encoders()}
    assert loaded.notices == []
    compared = 0
    for name, part in theirs.components.items():
        if isinstance(part, torch.nn.Module):
            state, own = part.state_dict(), ours[name].state_dict()
            assert state.keys() == own.keys()
            for key, tensor in state.items():
                torch.testing.assert_close(own[key], tensor)
                compared += 1
    assert compared > 100


def changed(file, change):
    """Write the file again with changed tensors."""
    tensors = load_file(file)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


@pytest.fixture(scope="module")
def sd1_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd1")
    return write_single_file(write_stable_diffusion(folder / "folder"), folder / "dream.safetensors")


@pytest.fixture
def file(sd1_file, tmp_path):
    """A file of Stable Diffusion 1.x that a test may change."""
    shutil.copytree(sd1_file.with_suffix(""), tmp_path / "dream")
    return Path(shutil.copy(sd1_file, tmp_path / "dream.safetensors"))


TO_K = "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.attn2.to_k"


def test_an_unknown_tensor_is_refused(file):
    changed(file, lambda tensors: tensors.update({"model.diffusion_model.label_emb.0.0.weight": torch.ones(2)}))
    with pytest.raises(BadInputError, match=r"dream\.safetensors\" contains \"model\.diffusion_model\.label_emb"):
        load_prior(str(file), CPU)


def test_a_missing_tensor_is_reported_before_any_is_read(file, monkeypatch):
    changed(file, lambda tensors: tensors.pop(f"{TO_K}.weight"))
    monkeypatch.setattr(single_file, "open_tensors", None)
    with pytest.raises(BadInputError, match=rf"lacks \"{TO_K}\.weight\": it is damaged"):
        load_prior(str(file), CPU)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_or_infinite_weights_are_refused(number, file):
    changed(file, lambda tensors: tensors[f"{TO_K}.weight"].view(-1)[3:4].fill_(number))
    with pytest.raises(BadInputError, match=rf"NaN or infinite .*{TO_K}"):
        load_prior(str(file), CPU)


def test_tensors_of_the_training_are_ignored(file, sd1_file):
    names = [
        "model_ema.num_updates",
        "alphas_cumprod",
        "betas",
        "first_stage_model.loss.logvar",
        "v_pred",
        "emb_params",
    ]
    changed(file, lambda tensors: tensors.update({name: torch.ones(3) for name in names}))
    assert_same(load_prior(str(file), CPU), load_prior(str(sd1_file), CPU))


def test_t5_is_left_out_and_that_is_reported(tmp_path):
    file = write_single_file(write_sd3(tmp_path / "folder"), tmp_path / "dream.safetensors")
    changed(file, lambda tensors: tensors.update({"text_encoders.t5xxl.transformer.shared.weight": torch.ones(2, 2)}))
    prior = load_prior(str(file), CPU)
    assert prior.notices == (
        'The text encoder T5 in "dream.safetensors" is not used: the model was trained to do without it.',
    )
    said = []
    tell_how_it_reads(CountedPrior(prior), "a mug", "", said.append)
    assert [event.message for event in said] == list(prior.notices)


def test_names_without_text_model_and_of_other_programs(file, sd1_file):
    def older(tensors):
        for name in list(tensors):
            tensors[name.replace("text_model.", "").replace("first_stage_model.", "vae.")] = tensors.pop(name)

    assert_same(load_prior(str(changed(file, older)), CPU), load_prior(str(sd1_file), CPU))


def to_8_bits(tensor, scale):
    """Weights in 8 bits in ComfyUI's format, and their values; `scale` is one factor, or one per row."""
    rounded = (tensor / scale).to(torch.float8_e4m3fn)
    return rounded, rounded.float() * scale


@pytest.mark.parametrize(
    ("suffix", "more", "rows"),
    [
        ("scale_weight", {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}, False),
        ("weight_scale", {f"{TO_K}.comfy_quant": torch.zeros(5, dtype=torch.uint8)}, False),
        ("weight_scale", {}, True),
        ("", {}, False),
    ],
    ids=["older", "newer", "rows", "without"],
)
def test_scales_of_weights_in_8_bits_are_multiplied_in(suffix, more, rows, file, sd1_file, tmp_path):
    other = Path(shutil.copy(sd1_file, tmp_path / "other.safetensors"))
    shutil.copytree(sd1_file.with_suffix(""), tmp_path / "other")
    weight = load_file(sd1_file)[f"{TO_K}.weight"]
    factor = (0.001 * torch.arange(1, len(weight) + 1.0)[:, None]) if rows else torch.tensor(0.003 if suffix else 1.0)
    rounded, meant = to_8_bits(weight, factor)
    changed(other, lambda tensors: tensors.update({f"{TO_K}.weight": meant}))
    scales = {f"{TO_K}.{suffix}": factor, f"{TO_K}.scale_input": torch.tensor(1.0)} if suffix else {}
    changed(file, lambda tensors: tensors.update({f"{TO_K}.weight": rounded, **scales, **more}))
    assert_same(load_prior(str(file), CPU), load_prior(str(other), CPU))


@pytest.mark.parametrize(
    ("family", "shipped", "written"),
    [
        ("sd1", write_stable_diffusion, lambda folder: write_stable_diffusion(folder, "v_prediction")),
        ("sd2", lambda folder: write_stable_diffusion(folder, version=2), FAMILIES["sd2"]),
        ("sdxl", write_sdxl, lambda folder: write_sdxl(folder, "v_prediction")),
        ("sd3", write_sd3, FAMILIES["sd3.5"]),
    ],
)
def test_file_alone_gets_a_shipped_configuration(family, shipped, written, tmp_path, monkeypatch):
    """With tiny configurations instead of the shipped ones, as if the models of these families were that small.

    What the shipped ones do not tell is found in the file: that it predicts v, and the shape of SD 3.5's transformer.
    """
    monkeypatch.setattr(families, "CONFIGS", shipped(tmp_path / "shipped" / family).parent)
    monkeypatch.setattr(single_file, "clip_tokenizer", lambda pad_token: tiny_tokenizer(tmp_path / "words"))
    folder = written(tmp_path / "folder")
    file = write_single_file(folder, tmp_path / "dream.safetensors")
    shutil.rmtree(file.with_suffix(""))
    assert_same(load_prior(str(file), CPU), load_prior(str(folder), CPU))


def test_file_that_is_marked_as_trained_up_to_pure_noise(tmp_path):
    file = write_single_file(write_sdxl(tmp_path / "folder", "v_prediction"), tmp_path / "dream.safetensors")
    own = file.with_suffix("") / "scheduler" / "scheduler_config.json"
    shutil.copy(families.CONFIGS / "sdxl" / "scheduler" / own.name, own)
    own.write_text(json.dumps(json.loads(own.read_text()) | {"prediction_type": "v_prediction"}))
    end = torch.ones(1)
    assert load_prior(str(file), CPU).scales(end)[0] > 0.01
    save_file(load_file(file) | {"ztsnr": torch.zeros(0)}, file)
    prior = load_prior(str(file), CPU)
    assert prior.scales(end)[0] < 1e-5
    assert prior.sampling_times(4)[0] == 0.999


@pytest.mark.parametrize("said", [{}, {"rescale_betas_zero_snr": False}])
def test_what_is_set_stays_set_whether_the_file_said_something_of_it_or_not(said):
    """Diffusers takes the default again where a configuration did not say otherwise."""
    scheduler = DDIMScheduler.from_config(said)
    configure(scheduler, rescale_betas_zero_snr=True)
    assert DDIMScheduler.from_config(scheduler.config).config.rescale_betas_zero_snr
    assert not DDIMScheduler.from_config(scheduler.config).config.thresholding


def test_noise_prediction_is_distinguished_from_velocity():
    class VelocityPrior(ExactPrior):
        def predict_unguided(self, x, t, text):
            prediction = super().predict_unguided(x, t, text)
            a, b = self.scales(t)
            return Prediction(prediction.x0, a * prediction.noise - b * prediction.x0)

    images = {"ball": ball_images()}
    assert not predicts_velocity(ExactPrior(images))
    assert predicts_velocity(VelocityPrior(images))


def test_noise_is_told_from_velocity_on_a_small_image_and_without_text_encoders(tmp_path, monkeypatch):
    prior = load_prior(str(write_sdxl(tmp_path / "model")), CPU)
    prior.resolution = 1024
    asked = []
    predict = prior.predict_unguided
    monkeypatch.setattr(prior, "predict_unguided", lambda x, t, text: asked.append(x.shape) or predict(x, t, text))
    predicts_velocity(prior)
    assert asked == [(1, 4, 32, 32)]
    assert not prior.text_encoders.are_loaded


def test_stable_diffusion_2_that_predicts_velocity_is_for_768_pixels():
    model = real_model("sd2").components
    pipeline = SimpleNamespace(**model, scheduler=DDIMScheduler())
    set_velocity(pipeline, SD2)
    assert pipeline.unet.config.sample_size * 8 == 768
    assert pipeline.scheduler.config.prediction_type == "v_prediction"


def part(kind, family, subfolder, **changes):
    """A part of a real model from the shipped configuration, without weights."""
    if issubclass(kind, (CLIPTextModel, CLIPTextModelWithProjection)):
        return kind(CLIPTextConfig.from_pretrained(CONFIGS / family / subfolder))
    return kind.from_config(kind.load_config(CONFIGS / family / subfolder) | changes)


def real_model(family):
    with torch.device("meta"):
        parts = {"vae": part(AutoencoderKL, family, "vae")}
        if family == "sd3":
            parts["transformer"] = part(SD3Transformer2DModel, family, "transformer")
        else:
            parts["unet"] = part(UNet2DConditionModel, family, "unet")
        kind = CLIPTextModelWithProjection if family == "sd3" else CLIPTextModel
        parts["text_encoder"] = part(kind, family, "text_encoder")
        if family in ("sdxl", "sd3"):
            parts["text_encoder_2"] = part(CLIPTextModelWithProjection, family, "text_encoder_2")
        return SimpleNamespace(components=parts)


@pytest.mark.parametrize(
    ("family", "counts"),
    [
        ("sd1", {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}),
        ("sd2", {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840}),
        (
            "sdxl",
            {
                "unet": 2_567_463_684,
                "vae": 83_653_863,
                "text_encoder": 123_060_480,
                "text_encoder_2": 694_659_840,
            },
        ),
        ("sd3", {"transformer": 2_028_328_000, "vae": 83_819_683, "text_encoder_2": 694_659_840}),
    ],
)
def test_shipped_configurations_are_those_of_the_real_models(family, counts):
    model = real_model(family)
    found = {name: sum(tensor.numel() for tensor in model.components[name].parameters()) for name in counts}
    assert found == counts
    shapes = {name: tuple(tensor.shape) for name, tensor in original_layout(model).items()}
    assert family_of(shapes).name == family


@pytest.mark.parametrize(
    "shape",
    [
        {"num_layers": 24, "pos_embed_max_size": 192, "qk_norm": None, "dual_attention_layers": ()},
        {"num_layers": 24, "pos_embed_max_size": 384, "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13))},
        {"num_layers": 38, "pos_embed_max_size": 192, "qk_norm": "rms_norm", "dual_attention_layers": ()},
    ],
    ids=["3 medium", "3.5 medium", "3.5 large"],
)
def test_shapes_tell_the_versions_of_sd3_apart(shape):
    layers = shape["num_layers"]
    shape = shape | {"num_attention_heads": layers, "caption_projection_dim": 64 * layers}
    with torch.device("meta"):
        transformer = part(SD3Transformer2DModel, "sd3", "transformer", **shape)
    layout = renamed(transformer, sd3_layout(transformer))
    assert sd3_transformer_shape({name: tuple(tensor.shape) for name, tensor in layout.items()}) == shape


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ({"model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)}, "inpainting"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}, "lacks its VAE and its text encoder"),
        (
            {
                "model.diffusion_model.input_blocks.0.0.weight": (384, 4, 3, 3),
                "conditioner.embedders.0.model.ln_final.weight": (1280,),
            },
            "refiner",
        ),
        ({"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": (9216, 3072)}, "FLUX"),
        ({"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}, "FLUX"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 320, 1, 1)}, "is a LoRA"),
        ({"weight": (1,)}, "not contain a diffusion model"),
    ],
)
def test_what_is_not_supported(shapes, sentence, tmp_path):
    file = tmp_path / "file.safetensors"
    save_file({name: torch.zeros(shape, dtype=torch.float8_e4m3fn) for name, shape in shapes.items()}, file)
    with pytest.raises(BadInputError, match=sentence):
        load_prior(str(file), CPU)


@pytest.mark.parametrize(
    ("write", "missing"), [(write_sd3, "text_encoders"), (write_stable_diffusion, "first_stage_model")]
)
def test_file_that_lacks_parts(write, missing, tmp_path):
    file = write_single_file(write(tmp_path / "folder"), tmp_path / "dream.safetensors")
    save_file({name: tensor for name, tensor in load_file(file).items() if not name.startswith(missing)}, file)
    sentence = "lacks its VAE" if missing == "first_stage_model" else "lacks its first text encoder and its second"
    with pytest.raises(BadInputError, match=sentence):
        load_prior(str(file), CPU)


def test_file_of_a_shape_of_its_own_asks_for_a_folder(tmp_path):
    file = write_single_file(write_stable_diffusion(tmp_path / "folder"), tmp_path / "dream.safetensors")
    shutil.rmtree(file.with_suffix(""))
    with pytest.raises(BadInputError, match=r'non-standard architecture, .* in a folder "dream" beside it'):
        load_prior(str(file), CPU)


def test_tokens_are_clips():
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49_408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("Hello, World!").input_ids == [49406, 3306, 267, 1002, 256, 49407]
    assert tokenizer("a cat", padding="max_length").input_ids[3:] == [49407] * 74
    assert clip_tokenizer("!")("a cat", padding="max_length").input_ids[3:] == [49407, *[0] * 73]
