import importlib.metadata
import json
import math
import shutil
import warnings
from types import SimpleNamespace

import diffusers
import huggingface_hub
import pytest
import torch
from diffusers import PNDMScheduler, UNet2DConditionModel
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from original_layout import write_single_file
from safetensors.torch import load_file, save_file
from tiny_models import SCHEDULE, write_sd3, write_sdxl, write_stable_diffusion

from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import loading, single_file
from sdi_engine.diffusion.families import SD1, SD3, SDXL
from sdi_engine.diffusion.header import read_header
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.location import INDEX_FILE, REAL_MODEL, REAL_MODEL_MIRRORS
from sdi_engine.diffusion.model_index import present
from sdi_engine.diffusion.precision import precision
from sdi_engine.diffusion.request_check import check_request
from sdi_engine.errors import BadInputError, EnvironmentMissingError, OutOfMemoryError
from sdi_engine.run.guidance import Guidance
from sdi_engine.run.resolve import resolve

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def latent_model(tmp_path_factory):
    return write_stable_diffusion(tmp_path_factory.mktemp("models") / "latent")


@pytest.fixture(scope="module")
def pixel_model(tmp_path_factory):
    return write_stable_diffusion(tmp_path_factory.mktemp("models") / "pixel", "v_prediction", vae=False)


@pytest.fixture(scope="module")
def sdxl_model(tmp_path_factory):
    return write_sdxl(tmp_path_factory.mktemp("models") / "sdxl")


@pytest.fixture(scope="module")
def sd3_model(tmp_path_factory):
    return write_sd3(tmp_path_factory.mktemp("models") / "sd3")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub, offline; returns a function that puts a model there."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name, folder):
        model = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        commit = "0" * 40
        shutil.copytree(folder, model / "snapshots" / commit)
        (model / "refs").mkdir()
        (model / "refs" / "main").write_text(commit)

    return put


def test_latent_model(latent_model):
    prior = load_prior(str(latent_model), CPU)
    assert prior.resolution == 16
    assert prior.latent_shape(24) == (4, 12, 12)
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    x0 = prior.encode(images)
    assert x0.shape == (2, 4, 8, 8)
    assert prior.decode(x0.detach()).shape == (2, 3, 16, 16)
    x0.sum().backward()
    assert images.grad.abs().sum() > 0


def test_pixel_model_encodes_without_loss(pixel_model):
    prior = load_prior(str(pixel_model), CPU)
    assert prior.resolution == 16
    assert prior.latent_shape(16) == (12, 8, 8)
    images = torch.rand(1, 3, 16, 16)
    assert prior.encode(images).shape == (1, 12, 8, 8)
    torch.testing.assert_close(prior.decode(prior.encode(images)), images)


def test_a_model_that_draws_pixels_says_how_far_they_reach_and_one_with_a_vae_does_not(pixel_model, latent_model):
    extremes = torch.tensor([0.0, 1.0]).expand(1, 3, 16, 2).repeat(1, 1, 1, 8)
    prior = load_prior(str(pixel_model), CPU)
    assert prior.encode(extremes).aminmax() == (-prior.largest_x0, prior.largest_x0)
    assert load_prior(str(latent_model), CPU).largest_x0 == math.inf


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_prediction_is_what_diffusers_scheduler_steps_with(prediction_type, tmp_path):
    """Our x0 and ε from a model's output are those of Diffusers' own DDIM step."""
    from diffusers import StableDiffusionPipeline

    folder = write_stable_diffusion(tmp_path / "model", prediction_type, vae=False)
    prior = load_prior(str(folder), CPU)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, vae=None)
    text = prior.text(["a red mug"])
    x = torch.randn(1, pipeline.unet.config.in_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = pipeline.unet(x, torch.tensor([600]), text["embedding"]).sample
    pipeline.scheduler.set_timesteps(1000)
    expected = pipeline.scheduler.step(output, 600, x).pred_original_sample
    t = torch.tensor([0.6])
    prediction = prior.predict_unguided(x, t, text)
    torch.testing.assert_close(prediction.x0, expected, atol=1e-4, rtol=1e-4)
    a, b = prior.scales(t)
    torch.testing.assert_close(a * prediction.x0 + b * prediction.noise, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", ["latent_model", "pixel_model", "sdxl_model", "sd3_model"])
def test_predictions_have_gradients_and_weights_have_none(model, request):
    prior = load_prior(str(request.getfixturevalue(model)), CPU)
    x = torch.randn(1, *prior.latent_shape(16), requires_grad=True)
    prediction = prior.predict(x, torch.tensor([0.5]), prior.condition(["a mug"]), 3.0)
    prediction.noise.square().sum().backward()
    assert x.grad.abs().sum() > 0
    weights = [
        tensor for part in vars(prior).values() if isinstance(part, torch.nn.Module) for tensor in part.parameters()
    ]
    assert weights
    assert not any(tensor.requires_grad for tensor in weights)


def test_a_flow_is_exact_where_there_is_no_signal(sd3_model):
    """At s = 1 x is noise alone: ε is x whatever the model says, and x0 is finite."""
    prior = load_prior(str(sd3_model), CPU)
    x = torch.randn(1, 4, 8, 8)
    prediction = prior.predict_unguided(x, torch.ones(1), prior.text(["a mug"]))
    torch.testing.assert_close(prediction.noise, x)
    assert prediction.x0.isfinite().all()
    assert (prediction.x0 - x).abs().max() > 0.1


def test_guidance_is_equation_3(latent_model):
    prior = load_prior(str(latent_model), CPU)
    conditioning = prior.condition(["a mug", "a car"], "ugly")
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        negative = prior.predict(x, t, conditioning, 0.0).noise
        positive = prior.predict(x, t, conditioning, 1.0).noise
        assert (negative - positive).abs().max() > 1e-4
        for gamma in (7.5, -7.5):
            guided = prior.predict(x, t, conditioning, gamma).noise
            torch.testing.assert_close(guided, negative + gamma * (positive - negative), atol=1e-4, rtol=1e-4)


def test_sdxl_gets_zeros_for_an_empty_prompt_and_the_image_size(sdxl_model):
    prior = load_prior(str(sdxl_model), CPU)
    text = prior.text(["", "a mug"])
    for tensor in text.values():
        assert tensor[0].abs().max() == 0
        assert tensor[1].abs().max() > 0
    told = []
    unet = prior._denoiser
    unet.register_forward_pre_hook(
        lambda module, inputs, named: told.append(named["added_cond_kwargs"]["time_ids"]), with_kwargs=True
    )
    prior.predict_unguided(torch.randn(2, 4, 12, 12), torch.tensor([0.5, 0.5]), text)
    assert told[0].tolist() == [[24.0, 24.0, 0.0, 0.0, 24.0, 24.0]] * 2


def test_times_are_those_of_the_models_own_schedule_whatever_sampler_it_comes_with(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "pndm")
    PNDMScheduler(**{k: v for k, v in SCHEDULE.items() if k != "clip_sample"}).save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "PNDMScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    times = load_prior(str(folder), CPU).sampling_times(4)
    torch.testing.assert_close(times, torch.tensor([0.751, 0.501, 0.251, 0.001]))
    torch.testing.assert_close(times, load_prior(str(latent_model), CPU).sampling_times(4))


def test_folder_with_half_precision_weights_only(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "half")
    for weights in folder.glob("*/*.safetensors"):
        weights.rename(weights.with_suffix(".fp16.safetensors"))
    x, t = torch.ones(1, 4, 8, 8), torch.tensor([0.5])
    half, full = load_prior(str(folder), CPU), load_prior(str(latent_model), CPU)
    torch.testing.assert_close(
        half.predict_unguided(x, t, half.text(["a"])).noise, full.predict_unguided(x, t, full.text(["a"])).noise
    )


def test_folder_with_one_network_in_half_precision_only(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "half")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    assert load_prior(str(folder), CPU).weights["unet"].files == (weights.with_suffix(".fp16.safetensors"),)


def test_of_two_precisions_that_is_loaded_whose_header_is_read(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "both")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    halves = {name: tensor.half().zero_() for name, tensor in load_file(weights).items()}
    save_file(halves, weights.with_suffix(".fp16.safetensors"), {"format": "pt"})
    prior = load_prior(str(folder), CPU)
    assert prior.weights["unet"].files == (weights,)
    assert any(parameter.any() for parameter in prior._denoiser.parameters())
    assert {entry.dtype for entry in read_header(folder / "unet").values()} == {"F32"}


def test_half_precision_is_for_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    cuda = torch.device("cuda")
    assert precision(SDXL, cuda) == torch.float16
    assert precision(SD3, cuda) == torch.bfloat16
    assert precision(SD1, CPU) == torch.float32


@pytest.mark.parametrize("model", ["latent_model", "sdxl_model", "sd3_model"])
def test_vae_stays_in_float32_beside_a_model_in_half_precision(model, request, monkeypatch):
    monkeypatch.setattr("sdi_engine.diffusion.loading.precision", lambda name, device: torch.bfloat16)
    prior = load_prior(str(request.getfixturevalue(model)), CPU)
    seen = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: seen.extend(tensor.dtype for tensor in module.parameters(recurse=False))
    )
    try:
        x0 = prior.encode(torch.rand(1, 3, 16, 16))
        prior.decode(x0)
        assert set(seen) == {torch.float32}
        seen.clear()
        prediction = prior.predict(x0, torch.tensor([0.5]), prior.condition(["a mug"]), 3.0)
        assert set(seen) == {torch.bfloat16}
    finally:
        hook.remove()
    assert prediction.x0.dtype == prediction.noise.dtype == torch.float32


@pytest.mark.parametrize("part", ["text_encoder", "unet"])
def test_parts_of_two_models_are_refused(latent_model, tmp_path, part):
    folder = shutil.copytree(latent_model, tmp_path / "mixed")
    file = folder / part / "config.json"
    name = {"text_encoder": "hidden_size", "unet": "cross_attention_dim"}[part]
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: 768}))
    with pytest.raises(BadInputError, match="they belong to two models"):
        load_prior(str(folder), CPU)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("unet/config.json", "[]"),
        ("unet/config.json", '{"_class_name": "UNet2DConditionModel", "norm_num_groups": 0}'),
        ("scheduler/scheduler_config.json", "[1]"),
        ("text_encoder/config.json", '{"architectures": 7, "hidden_size": 32, "num_attention_heads": 0}'),
        ("tokenizer/tokenizer.json", "[]"),
        ("tokenizer/tokenizer_config.json", "[]"),
    ],
)
def test_a_damaged_configuration_is_one_sentence(latent_model, tmp_path, file, content):
    folder = shutil.copytree(latent_model, tmp_path / "damaged")
    (folder / file).write_text(content)
    with pytest.raises(BadInputError, match="damaged") as caught:
        load_prior(str(folder), CPU)
    assert "\n" not in str(caught.value)


def with_schedule(folder, **said):
    """The folder, with what its scheduler's configuration says changed, and without what is None."""
    file = folder / "scheduler" / "scheduler_config.json"
    said = json.loads(file.read_text()) | said
    file.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))
    return str(folder)


def test_a_schedule_that_is_not_told_is_refused_instead_of_taken_from_diffusers(latent_model, sd3_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "latent")
    assert load_prior(with_schedule(folder, beta_start=None, beta_end=None, trained_betas=[0.1] * 1000), CPU)
    assert load_prior(with_schedule(folder, trained_betas=None, beta_schedule="squaredcos_cap_v2"), CPU)
    with pytest.raises(BadInputError, match=r"does not say its noise schedule \(it lacks beta_start, beta_end\)"):
        load_prior(with_schedule(folder, beta_schedule="linear"), CPU)
    flow = shutil.copytree(sd3_model, tmp_path / "flow")
    for model in (folder, flow):
        (model / "scheduler" / "scheduler_config.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"lacks beta_schedule, beta_start, beta_end\): download the model again"):
        load_prior(str(folder), CPU)
    with pytest.raises(BadInputError, match=r"lacks shift\): download the model again"):
        load_prior(str(flow), CPU)


@pytest.mark.parametrize("is_velocity", [False, True])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_prediction_that_is_not_told_is_found_out(is_velocity, as_file, latent_model, tmp_path, monkeypatch):
    monkeypatch.setattr(single_file, "predicts_velocity", lambda prior: is_velocity)
    folder = shutil.copytree(latent_model, tmp_path / "dream")
    model = str(write_single_file(folder, tmp_path / "dream.safetensors")) if as_file else str(folder)
    assert load_prior(model, CPU)._prediction_type == "epsilon"
    with_schedule(folder, prediction_type=None)
    prior = load_prior(model, CPU)
    assert prior._prediction_type == ("v_prediction" if is_velocity else "epsilon")
    assert prior.resolution == load_prior(str(latent_model), CPU).resolution


def test_what_the_pipeline_corrects_is_correct_before_it_can_complain(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "older")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"steps_offset": 0, "clip_sample": True}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        older = load_prior(str(folder), CPU)
    assert torch.equal(older.sampling_times(7), load_prior(str(latent_model), CPU).sampling_times(7))


@pytest.mark.parametrize(
    "hints",
    [
        '{"resolution": "64"}',
        '{"resolution": 0}',
        '{"guidance_scale": NaN}',
        '{"view_vocabulary": "six"}',
        "[]1",
        "[1]",
    ],
)
def test_hints_that_cannot_be_are_refused(pixel_model, tmp_path, hints):
    folder = shutil.copytree(pixel_model, tmp_path / "model")
    (folder / "sdi_engine.json").write_text(hints)
    with pytest.raises(BadInputError, match=r"sdi_engine\.json. is damaged \(.*\): repair or delete it"):
        load_prior(str(folder), CPU)


def test_hints_beside_the_model_are_read(pixel_model, tmp_path):
    folder = shutil.copytree(pixel_model, tmp_path / "hinted")
    (folder / "sdi_engine.json").write_text(json.dumps({"guidance_scale": 2.5, "knows": {"things": ["mug"]}}))
    prior = load_prior(str(folder), CPU)
    assert prior.hints.guidance_scale == 2.5
    assert prior.hints.knows == {"things": ["mug"]}

    (folder / "sdi_engine.json").write_text("{")
    with pytest.raises(BadInputError, match="damaged"):
        load_prior(str(folder), CPU)


def test_paths_without_a_model(tmp_path, latent_model):
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        load_prior(str(tmp_path / "nothing" / "here"), CPU)
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        load_prior("nothing.safetensors", CPU)
    with pytest.raises(BadInputError, match=r"no model_index\.json"):
        load_prior(str(tmp_path), CPU)
    pickle = tmp_path / "model.ckpt"
    pickle.write_bytes(b"\x80\x04.")
    with pytest.raises(BadInputError, match="safetensors"):
        load_prior(str(pickle), CPU)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a tensor")
    with pytest.raises(BadInputError, match="cannot be loaded"):
        load_prior(str(damaged), CPU)
    broken = shutil.copytree(latent_model, tmp_path / "broken")
    next(broken.glob("unet/*.safetensors")).write_bytes(b"not a tensor")
    with pytest.raises(BadInputError, match="cannot be loaded"):
        load_prior(str(broken), CPU)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA error: out of memory"), torch.OutOfMemoryError("CUDA out of memory.")]
)
def test_a_model_too_large_for_the_memory_is_not_called_damaged(latent_model, monkeypatch, error):
    def too_much(*_, **__):
        raise error

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", too_much)
    with pytest.raises(OutOfMemoryError, match=r"not enough (graphics )?memory for the model"):
        load_prior(str(latent_model), CPU)


def test_pickled_weights_are_refused(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "pickled")
    weights = next(folder.glob("unet/*.safetensors"))
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(BadInputError, match=r"The unet of the model .* has no weights in the safetensors format"):
        load_prior(str(folder), CPU)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_weights_that_do_not_fit_their_configuration_are_told_in_our_words(latent_model, tmp_path, part):
    folder = shutil.copytree(latent_model, tmp_path / "other")
    file = folder / part / "config.json"
    said = json.loads(file.read_text())
    sizes = {"unet": {"block_out_channels": [32, 64]}, "text_encoder": {"intermediate_size": 99}}
    file.write_text(json.dumps(said | sizes[part]))
    with pytest.raises(BadInputError) as caught:
        load_prior(str(folder), CPU).text(["a mug"])
    assert "its weights are of other sizes than its configuration says" in str(caught.value)
    assert str(caught.value).endswith("download it again, or choose another one.")


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("text_encoder", {"num_hidden_layers": 10**12}, "num_hidden_layers is 1000000000000, and there are"),
        ("text_encoder", {"text_config": {"num_hidden_layers": 9999}}, "num_hidden_layers is 9999, and there are"),
        ("unet", {"layers_per_block": [1, 10**12]}, "layers_per_block is 1000000000000, and there are"),
    ],
)
def test_layers_without_end_are_not_made(latent_model, tmp_path, part, change, words):
    """The libraries would fill the memory with them before they look at the weights."""
    folder = shutil.copytree(latent_model, tmp_path / "endless")
    file = folder / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(BadInputError, match=words):
        check_request(JobRequest("a mug", model=str(folder)))


@pytest.mark.parametrize("use", [lambda prior: prior.text(["a mug"]), lambda prior: prior.remarks("a mug")])
def test_a_tokenizer_whose_settings_are_none_is_told_when_a_text_is_read(latent_model, tmp_path, use):
    folder = shutil.copytree(latent_model, tmp_path / "odd")
    file = folder / "tokenizer" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": {"a": 1}}))
    prior = load_prior(str(folder), CPU)
    with pytest.raises(BadInputError, match=r"tokenizer or a text encoder of this model reads no text \(int\(\) arg"):
        use(prior)


def test_the_parts_of_an_index_are_those_that_name_a_class():
    index = {"_class_name": "StableDiffusionPipeline", "_odd": [], "unet": ["diffusers", "U"], "vae": [None, None]}
    assert present(index) == {"unet"}


def changed(folder, part, change):
    """The folder, with the tensors of one part changed."""
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"),
        ("vae", "decoder.conv_in.weight"),
        ("text_encoder", "encoder.layers.0.mlp.fc1.weight"),
    ],
)
def test_a_missing_or_unknown_tensor_in_a_folder_is_refused(part, name, latent_model, tmp_path):
    """The libraries would use random numbers for a missing tensor, and ignore an unknown one."""

    def without(tensors):
        (own,) = [key for key in tensors if key.endswith(name)]
        del tensors[own]

    folder = shutil.copytree(latent_model, tmp_path / "lacking")
    with pytest.raises(BadInputError, match=rf"{part.replace('_', ' ')} of the model .*lacking.* lacks .*{name}"):
        load_prior(changed(folder, part, without), CPU).text(["a mug"])
    folder = shutil.copytree(latent_model, tmp_path / "more")
    with pytest.raises(BadInputError, match=rf"{part.replace('_', ' ')} of the model .* contains .*scale_weight"):
        load_prior(changed(folder, part, lambda tensors: tensors.update({"x.scale_weight": torch.ones(1)})), CPU).text(
            ["a mug"]
        )


def test_nan_or_infinite_weights_in_a_folder_are_refused(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "damaged")
    with pytest.raises(BadInputError, match=r"vae .* NaN or infinite .*decoder\.conv_in\.bias"):
        load_prior(changed(folder, "vae", lambda tensors: tensors["decoder.conv_in.bias"].fill_(float("nan"))), CPU)


def test_a_tokenizer_without_words_is_refused(latent_model, tmp_path):
    """Of an empty folder the library makes one that knows no words, for which every prompt is the same."""
    model = shutil.copytree(latent_model, tmp_path / "model")
    words, whole = model / "tokenizer" / "vocab.json", model / "tokenizer" / "tokenizer.json"
    shutil.move(whole, tmp_path)
    words.write_text("{}")
    with pytest.raises(BadInputError, match=r"tokenizer of the model .* lacks the files with its words"):
        load_prior(str(model), CPU)
    (model / "tokenizer" / "merges.txt").write_text("#version: 0.2")
    with pytest.raises(BadInputError, match="knows no words"):
        load_prior(str(model), CPU)


def test_the_unused_rest_of_clip_in_a_folder_is_ignored(latent_model, tmp_path):
    more = {"text_model.embeddings.position_ids": torch.arange(24)[None], "logit_scale": torch.ones(1)}
    folder = shutil.copytree(latent_model, tmp_path / "older")
    assert load_prior(changed(folder, "text_encoder", lambda tensors: tensors.update(more)), CPU).resolution == 16


def test_other_kinds_of_models_are_refused(latent_model, sdxl_model, tmp_path):
    lumina = tmp_path / "lumina"
    lumina.mkdir()
    (lumina / "model_index.json").write_text('{"_class_name": "Lumina2Pipeline", "transformer": ["diffusers", "X"]}')
    with pytest.raises(BadInputError, match=r"Lumina2Pipeline, which is not supported.*SD 3"):
        load_prior(str(lumina), CPU)

    refiner = shutil.copytree(sdxl_model, tmp_path / "refiner")
    index = json.loads((refiner / "model_index.json").read_text()) | {"text_encoder": [None, None]}
    (refiner / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(BadInputError, match="without text_encoder"):
        load_prior(str(refiner), CPU)

    inpainting = shutil.copytree(latent_model, tmp_path / "inpainting")
    config = UNet2DConditionModel.load_config(inpainting, subfolder="unet") | {"in_channels": 9}
    UNet2DConditionModel.from_config(config).save_pretrained(inpainting / "unet")
    with pytest.raises(BadInputError, match=r"9 channels.*inpainting"):
        load_prior(str(inpainting), CPU)

    unknown = shutil.copytree(latent_model, tmp_path / "unknown")
    file = unknown / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "flow_prediction"}))
    with pytest.raises(BadInputError, match='predicts "flow_prediction"'):
        load_prior(str(unknown), CPU)


def test_hub_id_while_offline(hub_cache):
    with pytest.raises(EnvironmentMissingError, match="not on this computer") as caught:
        load_prior("stabilityai/stable-diffusion-2-1-base", CPU)
    for alternative in (REAL_MODEL, *REAL_MODEL_MIRRORS, "starter"):
        assert alternative in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("HF_HUB_OFFLINE", "TRUE"), ("HF_HUB_OFFLINE", "yes"), ("TRANSFORMERS_OFFLINE", "1")]
)
def test_offline_in_every_way_that_the_hubs_library_knows(name, value, hub_cache, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr("sdi_engine.system.network.unreachable", lambda *url: asked.append(url) or "it is not asked")
    with pytest.raises(EnvironmentMissingError, match="not on this computer"):
        load_prior("someone/something", CPU)
    assert not asked


@pytest.mark.parametrize(
    ("kind", "sentence"), [(RepositoryNotFoundError, "or no longer"), (GatedRepoError, "accept its terms")]
)
def test_the_hubs_errors_are_explained(kind, sentence, monkeypatch):
    def refuse(source, file, **options):
        try:
            raise kind("a long story", response=SimpleNamespace(headers={}, request=None))
        except kind:
            raise OSError("a longer story")  # noqa: B904 - as Diffusers does

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    monkeypatch.setattr("sdi_engine.system.network.unreachable", lambda *url: "")
    with pytest.raises(EnvironmentMissingError, match=sentence):
        load_prior("someone/something", CPU)


def test_hub_id_that_was_fetched_before(hub_cache, latent_model):
    hub_cache("someone/something", latent_model)
    assert load_prior("someone/something", CPU).resolution == 16


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("unet/diffusion_pytorch_model.safetensors.index.json", "lacks the index of"),
        ("unet/diffusion_pytorch_model-00002-of-*", "lacks .*-00002-of-"),
        ("unet/*.safetensors", "lacks .*-00001-of-"),
        ("vae/*.safetensors", "vae .* has no weights"),
        ("scheduler/*", "scheduler .* has no scheduler_config"),
        ("text_encoder/config.json", "text encoder .* has no config"),
    ],
)
def test_what_was_downloaded_in_part_is_told_before_it_is_read(
    lost, said, latent_model, hub_cache, tmp_path, monkeypatch
):
    monkeypatch.setattr(loading, "network_in_folder", None)
    folder = shutil.copytree(latent_model, tmp_path / "sharded")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="100KB")
    for file in folder.glob(lost):
        file.unlink()
    with pytest.raises(BadInputError, match=f"{said}.*: download the model again"):
        load_prior(str(folder), CPU)
    hub_cache("owner/name", folder)
    with pytest.raises(
        EnvironmentMissingError, match=f'"owner/name" was downloaded only in part .*{said}.*Online Access'
    ):
        load_prior("owner/name", CPU)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index, held: index.pop("metadata"), 'lacks "metadata", without which'),
        (lambda index, held: index.update(metadata=None), 'lacks "metadata", without which'),
        (lambda index, held: held.pop("conv_in.bias"), r'does not tell what .* hold \("conv_in.bias"\)'),
        (lambda index, held: held.update(more=torch.zeros(1)), r'does not tell what .* hold \("more"\)'),
    ],
)
def test_an_index_that_does_not_fit_its_files_is_refused_by_name(change, said, latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "sharded")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="100KB")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index = json.loads(file.read_text())
    shard = folder / "unet" / index["weight_map"]["conv_in.bias"]
    held = load_file(shard)
    change(index, held)
    file.write_text(json.dumps(index))
    save_file(held, shard, {"format": "pt"})
    with pytest.raises(BadInputError, match=f"{file.name}.*{said}.*download the model again"):
        load_prior(str(folder), CPU)


def test_what_is_wrong_with_a_model_that_was_downloaded_is_not_the_networks_fault(latent_model, hub_cache, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "odd")
    (folder / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel", "norm_num_groups": 7}')
    hub_cache("owner/name", folder)
    with pytest.raises(BadInputError, match='The model "owner/name" cannot be loaded'):
        load_prior("owner/name", CPU)


def test_an_id_is_no_folder_of_the_working_directory(hub_cache, latent_model, pixel_model, tmp_path, monkeypatch):
    hub_cache("someone/something", latent_model)
    shutil.copytree(pixel_model, tmp_path / "someone" / "something")
    shutil.copytree(pixel_model, tmp_path / "someone" / "other")
    monkeypatch.chdir(tmp_path)
    assert load_prior("someone/something", CPU).latent_shape(16)[0] == 4
    with pytest.raises(EnvironmentMissingError, match="not on this computer"):
        load_prior("someone/other", CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"scheduler": ["evil", "DDIMScheduler"]},
        {"extra": ["evil", "Extra"]},
        {"unet": ["diffusers.evil", "UNet2DConditionModel"]},
        {"unet": ["diffusers", "AutoModel"]},
        {"text_encoder": ["transformers", "models.evil"]},
        {"unet": ["diffusers", "UNet2DConditionModel", "more"]},
        {"unet": {"class": "UNet2DConditionModel"}},
        {"safety_checker": ["stable_diffusion", "Other"]},
        {"_class_name": ["evil", "StableDiffusionPipeline"]},
    ],
)
def test_code_that_a_model_brings_is_never_run(change, latent_model, tmp_path, hub_cache, monkeypatch):
    """Neither from the model's folder nor from Python's path; the panel's check refuses it too."""
    folder = shutil.copytree(latent_model, tmp_path / "evil-model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | change))
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')\nclass DDIMScheduler: pass\nclass Extra: pass\nclass StableDiffusionPipeline: pass"
    for place in (tmp_path, folder, *(path for path in folder.iterdir() if path.is_dir())):
        (place / "evil.py").write_text(code)
        (place / "pipeline.py").write_text(code)
    hub_cache("someone/evil", folder)
    monkeypatch.syspath_prepend(str(tmp_path))
    for model in (str(folder), "someone/evil"):
        with pytest.raises(BadInputError, match="asks for code from outside"):
            load_prior(model, CPU)
    assert not ran.exists()


def test_older_libraries_are_refused_before_they_see_a_model(latent_model, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.20.0" if name == "diffusers" else "99.0.0")
    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", None)
    with pytest.raises(EnvironmentMissingError, match=r"diffusers is too old \(0\.20\.0, tested with .* pip install"):
        load_prior(str(latent_model), CPU)


def test_the_safety_checker_of_most_models_is_ignored(latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "usual")
    index = json.loads((folder / "model_index.json").read_text())
    usual = {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    }
    (folder / "model_index.json").write_text(json.dumps(index | usual))
    assert load_prior(str(folder), CPU).resolution == 16


def test_real_model_is_the_first_copy_that_is_here(hub_cache, latent_model, pixel_model, tmp_path):
    with pytest.raises(EnvironmentMissingError, match=REAL_MODEL_MIRRORS[1]):
        load_prior(REAL_MODEL, CPU)
    hub_cache(REAL_MODEL_MIRRORS[1], latent_model)
    assert load_prior(REAL_MODEL, CPU).latent_shape(16)[0] == 4
    hub_cache(REAL_MODEL_MIRRORS[0], pixel_model)
    assert load_prior(REAL_MODEL, CPU).latent_shape(16)[0] == 12


def test_of_a_copy_that_is_here_in_part_the_next_one_takes_the_place(hub_cache, latent_model, tmp_path):
    folder = shutil.copytree(latent_model, tmp_path / "part")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    hub_cache(REAL_MODEL_MIRRORS[0], folder)
    with pytest.raises(EnvironmentMissingError, match=f'"{REAL_MODEL_MIRRORS[0]}" was downloaded only in part'):
        load_prior(REAL_MODEL, CPU)
    hub_cache(REAL_MODEL_MIRRORS[1], latent_model)
    assert load_prior(REAL_MODEL, CPU).resolution == load_prior(str(latent_model), CPU).resolution


def test_a_copy_that_is_here_is_not_fetched_again(hub_cache, latent_model, monkeypatch):
    """Even online the first copy is not requested if the second was downloaded before."""
    hub_cache(REAL_MODEL_MIRRORS[1], latent_model)
    asked = []
    download = huggingface_hub.hf_hub_download
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda source, file, **options: asked.append(source) or download(source, file, **options),
    )
    load_prior(REAL_MODEL, CPU)
    assert asked[0] == REAL_MODEL_MIRRORS[1]
    assert REAL_MODEL_MIRRORS[0] not in asked


def test_a_model_is_fetched_by_a_process_of_its_own_where_its_weights_are_not_here(
    hub_cache, latent_model, tmp_path, monkeypatch
):
    """The hub is what is offline in this test: a copy of the index is all that is there at first."""
    only_index = tmp_path / "only index"
    only_index.mkdir()
    shutil.copy(latent_model / INDEX_FILE, only_index)
    hub_cache("someone/something", only_index)
    snapshot = next((tmp_path / "hub").glob("models--*/snapshots/*"))
    fetched = []

    def fetch(name, pipeline, absent):
        fetched.append((name, pipeline))
        shutil.copytree(latent_model, snapshot, dirs_exist_ok=True)

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("sdi_engine.system.network.unreachable", lambda *url: "")
    monkeypatch.setattr(loading, "_distrust", lambda source: "")
    monkeypatch.setattr(loading, "fetch", fetch)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file, **options: str(snapshot / file))
    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "download", lambda *names, **options: str(snapshot))
    for _ in range(2):
        assert load_prior("someone/something", CPU).resolution == 16
    assert fetched == [("someone/something", "StableDiffusionPipeline")]


def test_an_overflow_of_the_vae_is_no_white(latent_model):
    prior = load_prior(str(latent_model), CPU)
    prior._latents._vae.decoder.conv_out.bias.data[0] = torch.inf
    images = prior.decode(torch.zeros(1, 4, 8, 8))
    assert images[:, 0].isnan().all()
    assert images[:, 1:].isfinite().all()


@pytest.mark.parametrize("perp_neg", ["off", "everywhere"])
@pytest.mark.parametrize("vocabulary", ["four", "eight", "sentences"])
def test_a_prompt_is_read_from_all_sides_before_the_steps(latent_model, vocabulary, perp_neg, monkeypatch):
    prior = load_prior(str(latent_model), CPU)
    object.__setattr__(prior.hints, "view_vocabulary", vocabulary)
    guidance = Guidance(prior, resolve(JobRequest("a mug", perp_neg=perp_neg), prior.hints, prior.resolution), 0)
    guidance.read_all("a mug", "ugly")
    monkeypatch.setattr(prior, "_encode", None)
    for azimuth in range(-180, 360, 20):
        for elevation in (-20.0, 20.0, 40.0, 80.0):
            guidance.conditioning("a mug", "ugly", [float(azimuth), 10.0], [elevation, 0.0])
