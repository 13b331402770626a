"""Families of flow transformers: each is asked as Diffusers' own pipeline asks it, guided and unguided.

`pytest -s` prints the table of differences.
"""

import functools
import json

import pytest
import torch
from ddim_sample import ddim_sample
from diffusers import DiffusionPipeline
from tiny_flux import RESOLUTION, T5_LENGTH, write_chroma, write_flux
from tiny_models import write_sd3

from sdi_engine.diffusion.flow_prior import latents_of, tokens_of
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.perp_neg import condition_views
from sdi_engine.diffusion.views import view_words, with_view
from sdi_engine.errors import BadInputError

CPU = torch.device("cpu")
PROMPTS = ["a red mug", "a blue car, side view"]
NEGATIVE = "ugly"
STEPS = 4


def sd3(pipeline, x, guidance):
    return {"prompt": PROMPTS, "negative_prompt": [NEGATIVE] * 2, "latents": x, "guidance_scale": guidance}


def flux(pipeline, x, guidance):
    """Two-pass guidance beside the scale that dev is told."""
    guided = {"true_cfg_scale": guidance, "negative_prompt": [NEGATIVE] * 2} if guidance > 1.0 else {}
    told = {"prompt": PROMPTS, "guidance_scale": 1.0, "max_sequence_length": T5_LENGTH}
    return told | guided | {"latents": tokens_of(x)}


def chroma(pipeline, x, guidance):
    """With its masks as they are meant: as booleans."""
    told = {}
    for name, prompts in (("", PROMPTS), ("negative_", [NEGATIVE] * 2)):
        embedding, _, mask, *_ = pipeline.encode_prompt(
            prompts, do_classifier_free_guidance=False, max_sequence_length=T5_LENGTH
        )
        told |= {f"{name}prompt_embeds": embedding, f"{name}prompt_attention_mask": mask.bool()}
    return told | {"latents": tokens_of(x), "guidance_scale": guidance}


FAMILIES = {
    "SD 3.5": (functools.partial(write_sd3, version=3.5), sd3),
    "FLUX.1 dev": (write_flux, flux),
    "FLUX.1 schnell": (functools.partial(write_flux, kind="schnell"), flux),
    "Chroma": (write_chroma, chroma),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """The name of a family, the prior of its tiny model, and Diffusers' own pipeline of it."""
    write, _ = FAMILIES[request.param]
    folder = write(tmp_path_factory.mktemp("models") / "model")
    absent = {"text_encoder_3": None, "tokenizer_3": None} if request.param == "SD 3.5" else {}
    pipeline = DiffusionPipeline.from_pretrained(folder, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return request.param, load_prior(str(folder), CPU), pipeline


@pytest.mark.parametrize(("guidance", "resolution"), [(1.0, RESOLUTION), (3.5, RESOLUTION), (1.0, 2 * RESOLUTION)])
def test_sampling_is_that_of_diffusers(family, guidance, resolution):
    """In another size than a model's own, too, by which schedules are shifted."""
    name, prior, pipeline = family
    if name == "SD 3.5" and resolution != RESOLUTION:
        pytest.skip("the tiny one knows no places beyond its own size")
    x = torch.randn(2, *prior.latent_shape(resolution), generator=torch.Generator().manual_seed(3))
    how = {"height": resolution, "width": resolution, "num_inference_steps": STEPS, "output_type": "latent"}
    with torch.no_grad():
        theirs = pipeline(**how, **FAMILIES[name][1](pipeline, x, guidance)).images
    theirs = theirs if name == "SD 3.5" else latents_of(theirs, x.shape)
    conditioning = prior.condition(PROMPTS, NEGATIVE)
    ours = ddim_sample(prior, x, prior.sampling_times(STEPS, resolution), conditioning, guidance)
    difference = (ours - theirs).abs().max().item()
    print(f"{name:14} {resolution:2} px, guidance {guidance:3} largest difference {difference:.1e}")
    assert theirs.std() > 0.1  # not all the same
    assert (prior.predict(x, torch.ones(2), conditioning, 3.5).by_guidance.abs().max()) > 1e-3  # the texts tell
    assert difference <= 1e-4


@pytest.mark.parametrize("resolution", [256, 1024, 8192])
def test_times_stay_numbers_however_large_an_image_is(family, resolution):
    """The tiny models count from a few tokens on what real ones count from hundreds on."""
    times = family[1].sampling_times(4, resolution)
    assert times.isfinite().all()
    assert (times.diff() <= 0.0).all()
    assert 0.0 < times[-1] <= times[0] <= 1.0


def test_latents_are_those_of_the_vae_shifted_and_scaled(family):
    _, prior, pipeline = family
    images = torch.rand(1, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(0))
    config = pipeline.vae.config
    with torch.no_grad():
        x0 = prior.encode(images)
        latents = pipeline.vae.encode(images * 2.0 - 1.0).latent_dist.mode()
        decoded = pipeline.image_processor.postprocess(pipeline.vae.decode(latents).sample, output_type="pt")
    torch.testing.assert_close(x0, (latents - config.shift_factor) * config.scaling_factor)
    torch.testing.assert_close(prior.decode(x0), decoded, atol=1e-5, rtol=1e-5)


def test_an_image_of_half_a_patch_is_refused(family):
    _, prior, _ = family
    with pytest.raises(BadInputError, match=r"multiples of 4 pixels, and 18 is none: choose the resolution 16\."):
        prior.latent_shape(18)


def test_views_and_the_end_of_a_long_prompt(family):
    """The view is never cut off, whatever reads it."""
    name, prior, _ = family
    assert prior.hints.view_vocabulary == ("four" if name == "SD 3.5" else "sentences")
    long = "a red mug with a very long story " * 8
    views = [view_words(azimuth, 0.0, prior.hints.view_vocabulary) for azimuth in (0.0, 180.0)]
    text = prior.text([with_view(long, view) for view in views])
    for name_of_text in {"embedding", "pooled"} & set(text):  # Chroma has no CLIP
        front, back = text[name_of_text]
        assert not torch.allclose(front, back), name_of_text
    if name != "SD 3.5":
        assert any("too long for this model, which ignores" in remark for remark in prior.remarks(long))


def test_views_of_different_lengths_are_mixed_for_perp_neg(family):
    _, prior, _ = family
    x = torch.randn(2, *prior.latent_shape(RESOLUTION), generator=torch.Generator().manual_seed(3))
    t = torch.full((2,), 0.7)
    told = condition_views(prior, "a mug", NEGATIVE, [0.0, 60.0], [0.0, 0.0])
    with torch.no_grad():
        assert prior.predict(x, t, told, 3.5).x0.isfinite().all()
        mixed = prior.predict_unguided(x, t, told.prompt).x0
        front = prior.text([with_view("a mug", view_words(0.0, 0.0, prior.hints.view_vocabulary))] * 2)
        alone = prior.predict_unguided(x, t, front).x0
    torch.testing.assert_close(mixed[0], alone[0], atol=1e-5, rtol=1e-5)  # right in front
    assert (mixed[1] - alone[1]).abs().max() > 1e-4


@pytest.mark.parametrize("said", [{}, {"is_distilled": False}])
def test_schnell_is_loaded_with_its_own_guidance_unless_it_says_that_it_is_not_distilled(said, tmp_path):
    folder = write_flux(tmp_path / "model", "schnell")
    (folder / "sdi_engine.json").write_text(json.dumps({"resolution": RESOLUTION} | said))
    prior = load_prior(str(folder), CPU)
    assert (prior.distilled is None, prior.hints.guidance_scale) == (bool(said), 3.5 if said else 1.0)
    assert prior.notices == ()
    assert "it is told the scale 1" in load_prior(str(write_flux(tmp_path / "dev")), CPU).notices[0]
