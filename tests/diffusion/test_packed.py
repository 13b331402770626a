"""Models with weights in few bits: how far their predictions are from those of the same model in 32 bits.

`pytest -s` prints the table of errors.
"""

import copy
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline
from original_layout import renamed
from packed_files import FORMATS
from wide_models import WRITERS, write_wide

from sdi_engine.diffusion import families
from sdi_engine.diffusion.packed import PackedLayer, is_packed, take_packed
from sdi_engine.diffusion.packed_on_loading import pack_denoiser
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.diffusion.single_file import _fill
from sdi_engine.diffusion.tensors import open_tensors

CPU = torch.device("cpu")
RESOLUTION = 32
PROMPTS = ["a red mug", "a blue car, side view"]

BOUNDS = {
    "fp8 e4m3": 0.2,
    "fp8 e5m2": 0.4,
    "fp8 scaled": 0.2,
    "fp8 scaled by row": 0.2,
    "GGUF Q8_0": 0.05,
    "GGUF Q5_1": 0.3,
    "GGUF Q4_0": 0.6,
    "GGUF F16": 0.01,
    "8-bit": 0.05,
    "4-bit": 0.6,
}
"""The largest error that is allowed, as a share of the prediction's size: several times what was measured."""


@pytest.fixture(scope="module", params=WRITERS)
def model(request, tmp_path_factory):
    """The name of a family, its entry, and the pipeline of a tiny model of it."""
    folder = write_wide(request.param, tmp_path_factory.mktemp("models") / "model")
    absent = {"text_encoder_3": None, "tokenizer_3": None} if request.param == "SD 3.5" else {}
    pipeline = DiffusionPipeline.from_pretrained(folder, **absent)
    return request.param, families.of_pipeline(type(pipeline).__name__), pipeline


def prior_of(family, pipeline, denoiser):
    """A prior of the pipeline with another denoiser."""
    parts = pipeline.components | {family.denoiser: denoiser}
    other = type(pipeline)(**parts, **({"is_distilled": False} if "Klein" in type(pipeline).__name__ else {}))
    return family.prior(other, ModelHints(resolution=RESOLUTION), CPU)


def packed(family, pipeline, how, path: Path):
    """The pipeline's denoiser with its weights in few bits, by way of a file in that format, or packed on loading."""
    own = getattr(pipeline, family.denoiser)
    if how not in FORMATS:
        denoiser = copy.deepcopy(own)
        assert pack_denoiser(denoiser, how, CPU) == []
        return denoiser
    file = FORMATS[how](renamed(own, family.layout(own)), path)
    with init_empty_weights():
        denoiser = type(own).from_config(own.config)
    layout = family.layout(denoiser)
    with open_tensors(file) as tensors:
        rest = take_packed(denoiser, layout, tensors, torch.float32, CPU)
        _fill(file, denoiser, rest, tensors, torch.float32, ())
    return denoiser


def predicted(prior):
    channels, rows, columns = prior.latent_shape(RESOLUTION)
    x = torch.randn(2, channels, rows, columns, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return prior.predict(x, torch.tensor([0.4, 0.9]), prior.condition(PROMPTS, "ugly"), 3.0).noise


@pytest.mark.parametrize("how", BOUNDS)
def test_error_of_the_prediction(how, model, tmp_path):
    name, family, pipeline = model
    exact = predicted(prior_of(family, pipeline, getattr(pipeline, family.denoiser)))
    denoiser = packed(family, pipeline, how, tmp_path / "model")
    prior = prior_of(family, pipeline, denoiser)
    found = predicted(prior)
    error = ((found - exact).norm() / exact.norm()).item()
    layers = sum(isinstance(layer, PackedLayer) for layer in denoiser.modules())
    print(f"{name:14} {how:18} {layers:3} layers packed, error of the prediction {error:.1e}")
    assert is_packed(denoiser) == (how != "GGUF F16")
    assert 0.0 < error < BOUNDS[how]
    assert torch.equal(found, predicted(prior))  # κ by inversion needs the same answer every time
