"""Families that are told their prompts by a language model: each is asked as Diffusers' own pipeline asks it.

`pytest -s` prints the table of differences.
"""

import json
import math
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.prx import pipeline_prx_pixel
from tiny_language_models import (
    RESOLUTION,
    write_flux2_klein,
    write_prx_pixel,
    write_qwen_image,
    write_sana,
    write_z_image,
)

from sdi_engine.cli import commands as cli
from sdi_engine.diffusion.counted_prior import CountedPrior
from sdi_engine.diffusion.distilled import check_noise
from sdi_engine.diffusion.flow_prior import latents_of, tokens_of
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.views import view_words, with_view
from sdi_engine.distillation.ddim import ddim_trajectory
from sdi_engine.distillation.noise import CHOICES_2D, Context
from sdi_engine.errors import EXIT_DONE, BadInputError
from sdi_engine.studies.distill2d import SAME, score_distillation
from sdi_engine.studies.sampling import starting_noise

CPU = torch.device("cpu")
PROMPTS = ["a red mug", "a blue car. The camera is behind it."]
FAMILIES = {
    "Z-Image": write_z_image,
    "FLUX.2 klein": write_flux2_klein,
    "Qwen-Image": write_qwen_image,
    "Sana": write_sana,
    "PRXPixel": write_prx_pixel,
}
SCALE, NEGATIVE = 4.0, "ugly"


def asked(family, guidance, count):
    """How a family's pipeline is told γ for so many images; without guidance it asks once."""
    if family == "FLUX.2 klein":  # whose pipeline keeps away from the empty prompt
        return {"guidance_scale": guidance}
    negative = {"negative_prompt": [NEGATIVE] * count} if guidance != 1.0 else {}
    if family == "Z-Image":
        return {"guidance_scale": guidance - 1.0, **negative}
    if family == "Qwen-Image":
        return {"true_cfg_scale": guidance, **negative}
    more = {"use_resolution_binning": False} if family in ("Sana", "PRXPixel") else {}
    return {"guidance_scale": guidance, **negative, **more}


def packed(family, x):
    """x of the prior as the pipeline takes it."""
    if family == "Qwen-Image":
        return tokens_of(x)
    return x * 2.0 if family == "PRXPixel" else x


def unpacked(family, x, like):
    """The reverse, for what a pipeline hands its scheduler."""
    if family in ("Qwen-Image", "FLUX.2 klein"):
        return latents_of(x, like.shape, 2 if family == "Qwen-Image" else 1)
    return x / 2.0 if family == "PRXPixel" else x


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    """The name of a family, and the folder of its tiny model."""
    return request.param, FAMILIES[request.param](tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def family(model):
    """The name of a family, the prior of its tiny model, and Diffusers' own pipeline of it."""
    name, folder = model
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return name, load_prior(str(folder), CPU), pipeline


@pytest.mark.parametrize("guidance", [1.0, SCALE])
def test_predictions_are_those_of_diffusers(family, guidance, monkeypatch):
    """At every latent and time that its own sampler comes by, and so are the times and the images."""
    name, prior, pipeline = family
    if name == "PRXPixel":  # ftfy, which repairs broken characters, is not installed
        monkeypatch.setattr(pipeline_prx_pixel, "_basic_clean", lambda text: text)
    prompts = PROMPTS[:1] if name == "PRXPixel" else PROMPTS  # of more it cannot make guided images
    x = torch.randn(len(prompts), *prior.latent_shape(RESOLUTION), generator=torch.Generator().manual_seed(3))
    steps, step = [], pipeline.scheduler.step

    def watched(output, t, sample, *arguments, **options):
        after = step(output, t, sample, *arguments, **options)
        steps.append((output, t, sample, after[0] if isinstance(after, tuple) else after.prev_sample))
        return after

    monkeypatch.setattr(pipeline.scheduler, "step", watched)
    with torch.no_grad():
        image = pipeline(
            prompt=list(prompts),  # Z-Image's puts its template around them in place
            height=RESOLUTION,
            width=RESOLUTION,
            num_inference_steps=3,
            latents=packed(name, x),
            output_type="pt",
            **asked(name, guidance, len(prompts)),
        ).images
        conditioning = prior.condition(prompts, "" if name == "FLUX.2 klein" else NEGATIVE)
        largest = by_guidance = 0.0
        for output, t, sample, _ in steps:
            time = (t / 1000).float().expand(len(x))
            ours = CountedPrior(prior).predict(unpacked(name, sample, x), time, conditioning, guidance)
            theirs = unpacked(name, output, x)
            assert theirs.std() > 0.1
            if guidance != 1.0:
                by_guidance = max(by_guidance, ours.by_guidance.std().item())
            largest = max(largest, (ours.noise - ours.x0 - theirs).abs().max().item())
        ours_image = prior.decode(unpacked(name, steps[-1][-1], x))
    print(f"{name:12} guidance {guidance:3} largest difference {largest:.1e}")
    assert len(steps) == 3
    assert largest <= 1e-4
    assert guidance == 1.0 or by_guidance > 0.01  # the prompt says something to the tiny model
    torch.testing.assert_close(prior.sampling_times(3), pipeline.scheduler.sigmas[:-1].float())
    theirs_image = image * 0.5 + 0.5 if name == "PRXPixel" else image
    torch.testing.assert_close(ours_image, theirs_image.clamp(0.0, 1.0), atol=1e-4, rtol=0.0)


def test_times_stay_numbers_however_large_an_image_is(family):
    for resolution in (256, 1024, 8192):
        times = family[1].sampling_times(4, resolution)
        assert times.isfinite().all()
        assert (times.diff() <= 0.0).all()
        assert 0.0 < times[-1] <= times[0] <= 1.0


def test_encoding_is_the_inverse_of_the_decoding_that_is_diffusers_own(family):
    name, prior, pipeline = family
    images = torch.rand(2, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = prior.decode(prior.encode(images))
        if name == "PRXPixel":
            theirs = images
        else:
            frames = images[:, :, None] if name == "Qwen-Image" else images
            encoded = pipeline.vae.encode(frames * 2.0 - 1.0)
            latents = encoded.latent if name == "Sana" else encoded.latent_dist.mode()
            theirs = pipeline.vae.decode(latents).sample.view(images.shape) * 0.5 + 0.5
    torch.testing.assert_close(ours, theirs.clamp(0.0, 1.0), atol=1e-5, rtol=0.0)
    assert prior.encode(images).shape[1:] == prior.latent_shape(RESOLUTION)
    black = prior.encode(torch.zeros_like(images)).abs().max()
    assert prior.largest_x0 == (black if name == "PRXPixel" else math.inf)


@pytest.mark.parametrize("guidance", [1.0, SCALE])
def test_with_cached_noise_score_distillation_is_ddim(family, guidance):
    _, prior, _ = family
    times = torch.cat([torch.ones(1), prior.sampling_times(4)])  # without a signal twice, as where shifts are large
    conditioning = prior.condition(["a mug"])
    x = starting_noise(prior, [0], RESOLUTION)

    def cached(x0, t, previous):
        return CHOICES_2D["cached"](None, x0, t, None, Context(0.0, 0.0, None, None, 0, previous))

    ddim = ddim_trajectory(prior, x, times, conditioning, guidance)
    distilled = score_distillation(prior, x, times, conditioning, guidance, cached)
    for one, other in zip(ddim, distilled, strict=True):
        assert (one.x0 - other.x0).abs().max() <= SAME


def test_a_resolution_that_it_cannot_draw_is_refused_with_the_one_below(family):
    _, prior, _ = family
    with pytest.raises(BadInputError, match=r"multiples of \d pixels, and 35 is none: choose the resolution (32|34)"):
        prior.encode(torch.zeros(1, 3, 35, 35))


def test_what_is_too_long_is_cut_before_the_view_words(family):
    _, prior, _ = family
    prompt = "a red mug, " * 60
    views = [with_view(prompt, view_words(azimuth, 0.0, "sentences")) for azimuth in (0.0, 180.0)]
    front, back = prior.text(views)["embedding"]
    assert not torch.equal(front, back)
    (remark,) = prior.remarks(prompt)
    assert remark.startswith('The prompt is too long for this model, which ignores "')
    assert prior.remarks("a (red:1.3) mug") == ['This model ignores weights of words: it reads "a red mug".']


def test_parts_of_two_models_are_told_apart(model, tmp_path):
    name, folder = model
    copied = shutil.copytree(folder, tmp_path / "mixed")
    file = copied / "text_encoder" / "config.json"
    config = json.loads(file.read_text())
    of_text = config["text_config"] if name == "Qwen-Image" else config
    of_text["hidden_size"] += 1
    file.write_text(json.dumps(config))
    with pytest.raises(BadInputError, match=r"numbers for a word, .* they belong to two models"):
        load_prior(str(copied), CPU)


@pytest.mark.usefixtures("small_pictures")
def test_an_object_is_made(model, tmp_path):
    _, folder = model
    few = ["--steps", "1", "--texture-size", "64", "--face-budget", "500", "--device", "cpu"]
    coarse = {"mesh_resolution": 16, "samples_per_ray": 8, "occupancy_resolution": 8}
    few += [option for name, value in coarse.items() for option in ("--set", f"{name}={value}")]
    command = ["generate", "a red mug", "--preset", "draft", "--model", str(folder), "-o", str(tmp_path / "job"), *few]
    assert cli.main(command) == EXIT_DONE
    assert (tmp_path / "job" / "mesh.glb").stat().st_size > 1000


def test_qwen_images_template_is_left_out(tmp_path):
    """All but the end of the person's message and the start of the answer."""
    prior = load_prior(str(write_qwen_image(tmp_path / "model")), CPU)
    words = len(prior._pipeline.tokenizer("a red mug").input_ids)
    assert prior.text(["a red mug"])["embedding"].shape[1] == words + len(["<|im_end|>", "\n", "<|im_start|>"]) + 2


@pytest.mark.parametrize(
    ("write", "few_steps", "base"),
    [(write_z_image, {"turbo": True}, "Z-Image"), (write_flux2_klein, {"is_distilled": True}, "FLUX.2 klein base")],
)
def test_models_for_few_steps_are_known_by_their_configuration(write, few_steps, base, tmp_path):
    check_noise("inversion", str(write(tmp_path / "made")))
    distilled = write(tmp_path / "again", **few_steps)
    check_noise("random", str(distilled))
    with pytest.raises(BadInputError, match=rf"distilled to a few steps \(by its configuration\).*choose {base}"):
        check_noise("inversion", str(distilled))
