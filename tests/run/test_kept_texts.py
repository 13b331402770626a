import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import write_stable_diffusion

from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.prior import NegativePrompt
from sdi_engine.run.kept_texts import keep, recall

CPU = torch.device("cpu")
PROMPTS = ["a mug, front view", "a mug, side view", NegativePrompt("ugly")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_stable_diffusion(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def job(tmp_path):
    return JobFolder.create(tmp_path / "results" / "job", JobRequest("a mug"))


def kept(model, job):
    """What is kept of a job, read by a model of its own."""
    prior = load_prior(model, CPU)
    text = prior.text(PROMPTS)
    keep(prior, job, "a mug", "ugly")
    return text


def recalled(model, job, prompt="a mug"):
    prior = load_prior(model, CPU)
    recall(prior, job, prompt, "ugly")
    return prior


def test_what_was_read_is_kept_bit_for_bit_and_no_encoder_is_read_for_it(model, job):
    text = kept(model, job)
    prior = recalled(model, job)
    again = prior.text(PROMPTS)
    assert all(torch.equal(text[name], again[name]) for name in text)
    assert not prior.text_encoders.are_loaded


def test_a_variation_takes_the_texts_of_the_job_beside_it(model, job):
    kept(model, job)
    other = JobFolder.create(job.path.parent / "variation", JobRequest("a mug", seed=1))
    prior = recalled(model, other)
    prior.text(PROMPTS)
    assert not prior.text_encoders.are_loaded
    keep(prior, other, "a mug", "ugly")
    assert other.texts_file.is_file()


def test_another_prompt_or_another_model_reads_for_itself(model, job, tmp_path):
    kept(model, job)
    assert not recalled(model, job, "a car").texts_read
    copy = shutil.copytree(model, tmp_path / "copy")
    config = copy / "text_encoder" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert not recalled(str(copy), job).texts_read


@pytest.mark.parametrize("damage", ["numbers", "no seal", "truncated", "nothing"])
def test_a_file_that_we_did_not_write_is_as_good_as_none(model, job, damage):
    kept(model, job)
    if damage in ("truncated", "nothing"):
        job.texts_file.write_bytes(job.texts_file.read_bytes()[:200] if damage == "truncated" else b"")
    else:
        with safe_open(job.texts_file, framework="pt") as stream:
            said = stream.metadata()
        tensors = load_file(job.texts_file)
        tensors = {name: tensor + (damage == "numbers") for name, tensor in tensors.items()}
        save_file(tensors, job.texts_file, said if damage == "numbers" else {**said, "seal": "0" * 64})
    assert not recalled(model, job).texts_read


def test_a_link_is_not_followed(model, job, tmp_path):
    kept(model, job)
    job.texts_file.rename(tmp_path / "elsewhere.safetensors")
    job.texts_file.symlink_to(tmp_path / "elsewhere.safetensors")
    assert not recalled(model, job).texts_read


def test_the_file_is_removed_with_its_job(model, job):
    kept(model, job)
    assert job.remove()
