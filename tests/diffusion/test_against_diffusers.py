"""Our DDIM on our priors equals Diffusers' own pipelines from the same noise; everything else builds on that."""

import pytest
import torch
from ddim_sample import ddim_sample
from diffusers import DiffusionPipeline
from tiny_models import write_sd3, write_sdxl, write_stable_diffusion

from sdi_engine.diffusion.loading import load_prior
from sdi_engine.distillation.ddim import ddim_step, ddim_trajectory

CPU = torch.device("cpu")
PROMPTS = ["a red mug", "a blue car, side view"]
STEPS = 5


def sampled_by_both(folder, guidance, negative_prompt="", resolution=16, **absent):
    """Latents from Diffusers' pipeline and from ours, and our last prediction."""
    prior = load_prior(str(folder), CPU)
    pipeline = DiffusionPipeline.from_pretrained(folder, **absent)
    pipeline.set_progress_bar_config(disable=True)
    x = torch.randn(2, *prior.latent_shape(resolution), generator=torch.Generator().manual_seed(3))
    theirs = pipeline(
        PROMPTS,
        negative_prompt=[negative_prompt] * 2 if negative_prompt else None,
        height=resolution,
        width=resolution,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        latents=x.clone(),
        output_type="latent",
    ).images
    conditioning, times = prior.condition(PROMPTS, negative_prompt), prior.sampling_times(STEPS)
    *_, last = ddim_trajectory(prior, x, times, conditioning, guidance)
    return theirs, ddim_sample(prior, x, times, conditioning, guidance), last, prior


def assert_close(ours, theirs):
    assert theirs.std() > 0.1  # not all the same
    assert (ours - theirs).abs().max() <= 1e-4


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize(("version", "prediction_type"), [(1, "epsilon"), (2, "epsilon"), (2, "v_prediction")])
def test_stable_diffusion(version, prediction_type, guidance, tmp_path):
    folder = write_stable_diffusion(tmp_path / "model", prediction_type, version=version, set_alpha_to_one=True)
    theirs, ours, _, _ = sampled_by_both(folder, guidance)
    assert_close(ours, theirs)


def test_a_sampler_that_stops_at_the_first_timestep(tmp_path):
    """Stable Diffusion's own configuration ends at x(0) = a·x0 + b·ε with α(0) = 0.99915 instead of at x0."""
    folder = write_stable_diffusion(tmp_path / "model", set_alpha_to_one=False)
    theirs, _, last, prior = sampled_by_both(folder, 7.5)
    assert_close(ddim_step(prior, last, torch.zeros(2)), theirs)


def test_a_schedule_with_zero_terminal_signal(tmp_path):
    folder = write_stable_diffusion(
        tmp_path / "model",
        "v_prediction",
        set_alpha_to_one=True,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    theirs, ours, _, prior = sampled_by_both(folder, 3.0)
    assert_close(ours, theirs)
    assert prior.scales(prior.sampling_times(STEPS)[:1])[0] < 1e-5  # it starts without any signal


@pytest.mark.parametrize(("guidance", "negative_prompt"), [(1.0, ""), (5.0, ""), (5.0, "ugly")])
def test_sdxl(guidance, negative_prompt, tmp_path):
    """At a resolution that is not the model's own, since SDXL is conditioned on the size."""
    folder = write_sdxl(tmp_path / "model")
    theirs, _, last, prior = sampled_by_both(folder, guidance, negative_prompt, resolution=24)
    assert_close(ddim_step(prior, last, torch.zeros(2)), theirs)


@pytest.mark.parametrize("guidance", [1.0, 7.0])
@pytest.mark.parametrize("schedule", [{"shift": 3.0}, {"use_dynamic_shifting": True, "base_image_seq_len": 4}])
def test_sd3(schedule, guidance, tmp_path):
    folder = write_sd3(tmp_path / "model", **schedule)
    theirs, ours, _, _ = sampled_by_both(folder, guidance, text_encoder_3=None, tokenizer_3=None)
    assert_close(ours, theirs)


def test_pixel_space_model_that_predicts_x0(tmp_path):
    folder = write_stable_diffusion(tmp_path / "model", "sample", vae=False, set_alpha_to_one=True)
    theirs, ours, _, _ = sampled_by_both(folder, 3.0, vae=None)
    assert_close(ours, theirs)


@pytest.mark.parametrize("write", [write_stable_diffusion, write_sdxl, write_sd3])
def test_decoding(write, tmp_path):
    folder = write(tmp_path / "model")
    absent = {"text_encoder_3": None, "tokenizer_3": None} if write is write_sd3 else {}
    pipeline = DiffusionPipeline.from_pretrained(folder, **absent)
    prior = load_prior(str(folder), CPU)
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x0 = prior.encode(images)
    config = pipeline.vae.config
    shift = config.shift_factor or 0.0
    with torch.no_grad():
        latents = pipeline.vae.encode(images * 2.0 - 1.0).latent_dist.mode()
        torch.testing.assert_close(x0, (latents - shift) * config.scaling_factor)
        decoded = pipeline.image_processor.postprocess(pipeline.vae.decode(latents).sample, output_type="pt")
    torch.testing.assert_close(prior.decode(x0), decoded, atol=1e-5, rtol=1e-5)
