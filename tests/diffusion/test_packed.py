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
    "GGUF Q4_0": 0.6,
    "GGUF F16": 0.01,
    "8-bit": 0.05,
    "4-bit": 0.6,
}
"""The largest error that is allowed, as a share of the prediction's size: several times what was measured."""


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
        _fill(file, denoiser, layout, tensors, torch.float32, ())
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


@pytest.mark.parametrize("how", ["fp8 scaled by row", "GGUF Q5_1"])
def test_a_layer_at_a_time_is_the_same_as_all_at_once(how, model, tmp_path):
    """Rows of one tensor that become several layers, too."""
    once, layers = (from_file(model, how, tmp_path / str(keep), keep) for keep in (False, True))
    assert is_packed(layers)
    assert not is_packed(once)
    torch.testing.assert_close(
        predicted(with_denoiser(model, layers)), predicted(with_denoiser(model, once)), atol=1e-5, rtol=1e-5
    )
