"""Models that change images that they are given, and have the tensors of one for text to image, or nearly so."""

import json

import pytest
import torch
from headers import QWEN, Z_IMAGE, write_file
from safetensors.torch import save_file
from tiny_flux import write_flux

from sdi_engine.cli.model_needs import needs_of
from sdi_engine.diffusion import families, parts
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.look_alikes import look_alike
from sdi_engine.diffusion.model_index import checked_pipeline
from sdi_engine.errors import BadInputError


@pytest.mark.parametrize(
    ("name", "family", "kind"),
    [
        ("flux1-dev-kontext_fp8_scaled.safetensors", families.FLUX, "edits images"),
        ("flux1-kontext-dev-Q4_K_M.gguf", families.FLUX, "edits images"),
        ("black-forest-labs/FLUX.1-Kontext-dev", families.FLUX, "edits images"),
        ("qwen_image_edit_2509_fp8.safetensors", families.QWEN_IMAGE, "edits images"),
        ("playground-v2.5-1024px-aesthetic.fp16.safetensors", families.SDXL, "EDM"),
        ("bigasp_v25.safetensors", families.SDXL, "flow"),
        ("noob-rf-v1.safetensors", families.SDXL, "flow"),
        ("sdxl_lightning_1step_x0.safetensors", families.SDXL, "predicts x0"),
        ("surf-flowers.safetensors", families.SDXL, ""),
        ("flux1-dev.safetensors", families.FLUX, ""),
        ("credits-edition-qwen-image.safetensors", families.QWEN_IMAGE, ""),
        ("context.safetensors", families.FLUX, ""),
    ],
)
def test_its_name_tells(name, family, kind):
    found = look_alike(name, family)
    assert (found.kind if found else "") == kind
    assert not found or found.notice.endswith(f"Choose {family.base} instead.")


def test_the_metadata_of_a_renamed_file_tell(tmp_path):
    file = tmp_path / "favourite.safetensors"
    save_file({"a": torch.zeros(1)}, file, {"modelspec.title": "FLUX.1 Kontext [dev]"})
    assert look_alike(str(file), families.FLUX).notice.startswith(
        'By its metadata, "Kontext", this model changes images'
    )


def test_a_run_and_the_doctor_say_so(tmp_path):
    model = str(write_flux(tmp_path / "flux1-kontext-dev"))
    notices = load_prior(model, torch.device("cpu")).notices
    said = [notice for notice in notices if notice.startswith('By its name, "kontext", this model changes images')]
    assert said == needs_of(model, "cpu")["lines"][-1:]


@pytest.mark.parametrize(
    ("pipeline", "base"),
    [
        ("FluxKontextPipeline", "FLUX.1 dev or Chroma"),
        ("FluxFillPipeline", "FLUX.1 dev or Chroma"),
        ("FluxControlPipeline", "FLUX.1 dev or Chroma"),
        ("QwenImageEditPlusPipeline", "Qwen-Image, without Lightning"),
        ("StableDiffusionXLInpaintPipeline", "Stable Diffusion XL 1.0"),
    ],
)
def test_the_index_of_a_folder_tells(pipeline, base):
    with pytest.raises(BadInputError, match=rf"is a {pipeline}, which changes or completes images .*: choose {base}"):
        checked_pipeline("dream", {"_class_name": pipeline})


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (QWEN | {"__index_timestep_zero__": (0,)}, "is Qwen-Image-Edit, which changes images that it is given"),
        (Z_IMAGE | {"siglip_embedder.0.weight": (1152,)}, "is Z-Image Omni, which reads images, too"),
        ({"redux_up.weight": (12288, 1152), "redux_down.bias": (4096,)}, "is FLUX.1 Redux"),
    ],
)
def test_further_tensors_tell(shapes, sentence, tmp_path):
    with pytest.raises(BadInputError, match=sentence):
        parts.plan(str(write_file(tmp_path / "dream.safetensors", shapes)), parts.Parts())


def test_the_configuration_of_a_denoiser_alone_tells(tmp_path):
    folder = tmp_path / "dream" / "transformer"
    write_file(folder / "diffusion_pytorch_model.safetensors", QWEN)
    config = {"_class_name": "QwenImageTransformer2DModel", "zero_cond_t": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInputError, match="is Qwen-Image-Edit, which changes images that it is given: choose Qwen"):
        parts.plan(str(folder), parts.Parts())
