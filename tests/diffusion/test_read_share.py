"""Whoever waits for a model is told how much of it has been read; of files in few bits see `test_packed.py`."""

import pytest
import torch
from original_layout import write_single_file
from safetensors.torch import load_file, save_file
from tiny_models import write_sd3, write_stable_diffusion

from sdi_engine.diffusion import weight_bytes
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.read_share import told

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By what they are; numbers of 16 bits are widened when they are read."""
    folder = tmp_path_factory.mktemp("models")
    wide = write_stable_diffusion(folder / "wide")
    half = write_sd3(folder / "half", t5=True)
    for file in half.rglob("*.safetensors"):
        save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    file = write_single_file(wide, folder / "file.safetensors")
    return {"folder": wide, "folder in 16 bits": half, "single file": file}


@pytest.mark.parametrize("kind", ["folder", "folder in 16 bits", "single file"])
def test_it_rises_to_all_of_the_model_and_then_to_all_of_its_text_encoders(models, kind):
    shares, of_texts = [], []
    with told(shares.append):
        prior = load_prior(str(models[kind]), CPU)
    with told(of_texts.append):
        prior.text(["a mug"])
    for each in (shares, of_texts):
        assert each == sorted(each)
        assert len(set(each)) > 10
        assert each[0] < 0.5
        assert 0.97 < each[-1] <= 1.0, "but for what a file holds besides"


def test_weights_that_stay_narrow_count_when_they_are_looked_at(models, monkeypatch):
    monkeypatch.setattr(weight_bytes, "LARGE_BYTES", 0)
    shares = []
    with told(shares.append):
        load_prior(str(models["folder in 16 bits"]), CPU)
    assert shares[-1] > 0.97
    assert len(set(shares)) > 10
