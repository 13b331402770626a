"""A run goes on with the weights that it was begun with, or says that they were replaced."""

import os
import shutil
import struct

import pytest
import torch
from coloured_ball import ColouredBall
from original_layout import write_single_file
from safetensors.torch import load_file, save_file
from tiny_models import write_lora, write_stable_diffusion

from sdi_engine.config.parameters import Lora
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import fingerprint, loading
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.errors import EXIT_BAD_INPUT, BadInputError
from sdi_engine.run import checkpoint
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.run.resolve import resolve
from sdi_engine.service import worker
from sdi_engine.service.keeper import KeptPrior

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    return write_stable_diffusion(tmp_path / "dream")


def begun(prior, path):
    request = JobRequest("a mug", preset="draft")
    settings = resolve(request, prior.hints, prior.resolution)
    checkpoint.save(Optimisation(prior, "a mug", "", settings, seed=0, represent=ColouredBall), path)


def replace(file):
    """Another last number, in a file of the same size and time."""
    content, times = file.read_bytes(), file.stat()
    file.write_bytes(content[:-4] + struct.pack("<f", 0.125))
    assert file.read_bytes() != content
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("file", "called"),
    [
        ("unet/diffusion_pytorch_model.safetensors", r"unet\" \(U-Net\)"),
        ("vae/diffusion_pytorch_model.safetensors", r"vae\" \(VAE\)"),
        ("text_encoder/model.safetensors", r"\(text encoder\)"),
    ],
)
def test_a_replaced_part_of_a_folder_is_named(folder, tmp_path, file, called):
    begun(load_prior(str(folder), CPU), tmp_path / "state")
    checkpoint.check_model(load_prior(str(folder), CPU).weights, tmp_path / "state")
    replace(folder / file)
    with pytest.raises(
        BadInputError, match=rf"begun with other weights .*{called}.*put the former ones back, or start"
    ):
        checkpoint.check_model(load_prior(str(folder), CPU).weights, tmp_path / "state")


def test_another_tokenizer_or_scheduler_is_noticed(folder, tmp_path):
    begun(load_prior(str(folder), CPU), tmp_path / "state")
    for name in ("scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"):
        file = folder / name
        before = file.read_text()
        file.write_text(before.replace("0.00085", "0.00095") + "\n")
        with pytest.raises(BadInputError, match=rf"\({file.parent.name}\)"):
            checkpoint.check_model(load_prior(str(folder), CPU).weights, tmp_path / "state")
        file.write_text(before)


def test_a_replaced_file_or_lora_is_named_and_a_copy_elsewhere_is_the_same(folder, tmp_path):
    model = write_single_file(folder, tmp_path / "one.safetensors")
    lora = write_lora(tmp_path / "style.safetensors", folder)
    begun(load_prior(str(model), CPU, [Lora(str(lora), 0.01)]), tmp_path / "state")
    elsewhere = tmp_path / "second machine"
    shutil.copytree(model.with_suffix(""), elsewhere / "renamed")
    copied = shutil.copyfile(model, elsewhere / "renamed.safetensors")
    copied_lora = shutil.copyfile(lora, elsewhere / "renamed lora.safetensors")
    checkpoint.check_model(load_prior(str(copied), CPU, [Lora(str(copied_lora), 0.01)]).weights, tmp_path / "state")
    replace(lora)
    with pytest.raises(BadInputError, match=r"style.safetensors\" \(LoRA\)"):
        checkpoint.check_model(load_prior(str(model), CPU, [Lora(str(lora), 0.01)]).weights, tmp_path / "state")
    replace(copied)
    with pytest.raises(BadInputError, match=r"renamed.safetensors\" \(model\)"):
        checkpoint.check_model(load_prior(str(copied), CPU, [Lora(str(copied_lora), 0.01)]).weights, tmp_path / "state")


def test_a_checkpoint_of_before_this_was_noted_goes_on(folder, tmp_path):
    begun(load_prior(str(folder), CPU), tmp_path / "state")
    older = {name: each for name, each in load_file(tmp_path / "state").items() if not name.startswith("model.")}
    save_file(older, tmp_path / "state")
    replace(folder / "unet" / "diffusion_pytorch_model.safetensors")
    checkpoint.check_model(load_prior(str(folder), CPU).weights, tmp_path / "state")


def test_a_resumed_job_ends_with_the_sentence_and_keeps_its_checkpoint(folder, tmp_path, caplog):
    job = JobFolder.create(tmp_path / "job", JobRequest("a mug", model=str(folder), preset="draft", device="cpu"))
    job.checkpoint_folder.mkdir()
    begun(load_prior(str(folder), CPU), job.checkpoint_file)
    replace(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert worker.run(job.path, resume=True) == EXIT_BAD_INPUT
    assert "begun with other weights" in caplog.text
    assert job.checkpoint_file.is_file()


def test_a_kept_model_is_read_again_when_a_file_within_its_folder_was_replaced(folder):
    kept = KeptPrior()
    first = kept.load(str(folder), CPU)
    assert kept.load(str(folder), CPU) is first
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    os.utime(file, ns=(1, 1))
    assert kept.load(str(folder), CPU) is not first


@pytest.mark.parametrize("layout", ["folder", "file"])
def test_a_file_that_is_replaced_while_it_is_read_is_told(folder, layout, tmp_path, monkeypatch):
    model = folder if layout == "folder" else write_single_file(folder, tmp_path / "one.safetensors")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors" if layout == "folder" else model
    kept, read = KeptPrior(), loading._with_prediction

    def replaced_meanwhile(*arguments):
        os.utime(file, ns=(1, 1))
        return read(*arguments)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(loading, "_with_prediction", replaced_meanwhile)
        with pytest.raises(BadInputError, match=r"was replaced while the model was read: start the job again\.$"):
            kept.load(str(model), CPU)
    assert kept.load(str(model), CPU).weights


@pytest.mark.parametrize("layout", ["folder", "file"])
def test_a_text_encoder_that_is_replaced_before_it_is_read_is_told(folder, layout, tmp_path):
    model = folder if layout == "folder" else write_single_file(folder, tmp_path / "one.safetensors")
    file = folder / "text_encoder" / "model.safetensors" if layout == "folder" else model
    prior = load_prior(str(model), CPU)
    os.utime(file, ns=(1, 1))
    with pytest.raises(BadInputError, match="was replaced while the model was read"):
        prior.text(["a mug"])


@pytest.mark.parametrize("size", [0, 1, 100, 101, 5_000])
def test_samples_lie_evenly_over_a_file_and_are_all_of_a_small_one(size, monkeypatch):
    monkeypatch.setattr(fingerprint, "SAMPLES", 4)
    monkeypatch.setattr(fingerprint, "SAMPLE_BYTES", 25)
    starts = fingerprint._starts(size)
    read = {byte for start in starts for byte in range(start, min(start + 25, size))}
    assert len(starts) <= 4
    assert size > 100 or read == set(range(size))
    assert not size or {0, size - 1} <= read
