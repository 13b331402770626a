"""Families of flow transformers: each is asked as Diffusers' own pipeline asks it, guided and unguided.

`pytest -s` prints the table of differences.
"""

import pytest
import torch
from diffusers import DiffusionPipeline
from tiny_flux import RESOLUTION, T5_LENGTH, write_chroma, write_flux

from sdi_engine.diffusion.flow_prior import tokens_of
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.distillation.ddim import ddim_sample

CPU = torch.device("cpu")
PROMPTS = ["a red mug", "a blue car, side view"]
NEGATIVE = "ugly"
STEPS = 4


def flux(pipeline, x, guidance):
    """Two-pass guidance beside the scale that dev is told."""
    guided = {"true_cfg_scale": guidance, "negative_prompt": [NEGATIVE] * 2} if guidance > 1.0 else {}
    return {"latents": tokens_of(x), "guidance_scale": 1.0, "max_sequence_length": T5_LENGTH, **guided}


def chroma(pipeline, x, guidance):
    """With the mask as it is meant: booleans."""
    told = {}
    for name, prompts in (("", PROMPTS), ("negative_", [NEGATIVE] * 2)):
        embedding, _, mask, *_ = pipeline.encode_prompt(
            prompts, do_classifier_free_guidance=False, max_sequence_length=T5_LENGTH
        )
        told |= {f"{name}prompt_embeds": embedding, f"{name}prompt_attention_mask": mask.bool()}
    return {"latents": tokens_of(x), "guidance_scale": guidance, "prompt": None, **told}


FAMILIES = {"FLUX.1 dev": (write_flux, flux), "Chroma": (write_chroma, chroma)}


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_is_that_of_diffusers(family, guidance, tmp_path):
    write, asked = FAMILIES[family]
    folder = write(tmp_path / "model")
    prior = load_prior(str(folder), CPU)
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    x = torch.randn(2, *prior.latent_shape(RESOLUTION), generator=torch.Generator().manual_seed(3))
    call = {"prompt": PROMPTS, "height": RESOLUTION, "width": RESOLUTION, "num_inference_steps": STEPS}
    call |= {"output_type": "latent"} | asked(pipeline, x, guidance)
    with torch.no_grad():
        theirs = pipeline(**call).images
    conditioning = prior.condition(PROMPTS, NEGATIVE)
    ours = tokens_of(ddim_sample(prior, x, prior.sampling_times(STEPS), conditioning, guidance))
    difference = (ours - theirs).abs().max().item()
    print(f"{family:12} guidance {guidance:3} largest difference {difference:.1e}")
    assert theirs.std() > 0.1
    assert difference <= 1e-4
