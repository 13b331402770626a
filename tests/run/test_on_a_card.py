"""Jobs on a graphics card. Where there is none, one is pretended (`pretend_card`)."""

import itertools
import json
from contextlib import nullcontext

import pytest
import torch
import trimesh
from pretend_card import pretended
from tiny_models import write_sd3, write_sdxl, write_stable_diffusion

from sdi_engine.cli import commands as cli
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import diffusers_prior
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.needs import MEASURES
from sdi_engine.diffusion.weight_bytes import PACKINGS
from sdi_engine.errors import EXIT_DONE
from sdi_engine.run import checkpoint
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.run.resolve import resolve

pytestmark = pytest.mark.usefixtures("small_pictures")

COARSE = ("mesh_resolution=16", "samples_per_ray=16", "occupancy_resolution=16")
ALL_LOSSES = ("textureless=0.5", "lit=0.5", "shading_start=0", "orientation=0.01", "z_variance=0.01")


THERE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def a_card(kind):
    return nullcontext(torch.device(kind)) if THERE[kind] else pretended(kind)


@pytest.fixture(params=["cuda", "mps"])
def card(request):
    with a_card(request.param) as device:
        yield device


@pytest.fixture
def cuda():
    with a_card("cuda") as device:
        yield device


def make(device, command, output, *asked, numbers=COARSE):
    """The result of a job."""
    options = ["--texture-size", "64", "--device", device.type, "-o", output]
    options += [option for number in numbers for option in ("--set", number)]
    assert cli.main([command, *map(str, [*asked, *options])]) == EXIT_DONE
    result = json.loads((output / "result.json").read_text())
    assert result["device"] == device.type
    return result


def made_object(device, model, output, *options, **changes):
    return make(device, "generate", output, "a red mug", "--model", model, "--face-budget", "500", *options, **changes)


def run_of(device, model, **changes):
    request = JobRequest("a red mug", preset="draft", device=device.type, model=str(model), resolution=16, **changes)
    prior = load_prior(str(model), device)
    settings = resolve(request, prior.hints, prior.resolution)
    return Optimisation(prior, request.prompt, request.negative_prompt, settings, seed=0)


def test_tensors_of_two_devices_do_not_meet(card):
    there = torch.zeros(3, device=card)
    assert (there + 1.0).device.type == there.new_ones(2).device.type == card.type
    assert there.cpu().device.type == torch.zeros(2).device.type == "cpu"
    assert (there + torch.ones(())).device.type == card.type, "a number may be of the processor"
    assert there[torch.tensor([0, 1])].device.type == card.type, "and so may indices"
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(3)
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, device=card, generator=torch.Generator())


def test_gradients_are_where_what_they_are_of_is(card):
    here = torch.ones(3, requires_grad=True)
    there = here.to(card)
    there.retain_grad()
    (there * torch.ones(3, device=card)).sum().backward()
    assert (there.grad.device.type, here.grad.device.type) == (card.type, "cpu")


def test_the_starter_prior_begins_as_a_field_and_ends_as_a_mesh(card, tmp_path):
    numbers = ("mesh_resolution=24", "field.grid_resolutions=[12,24]", "level_starts=[0,0.5]", "mesh_start=0.5")
    options = ("--model", "starter", "--preset", "standard", "--steps", "4", "--face-budget", "500")
    make(card, "generate", tmp_path / "job", "a red house", *options, numbers=numbers)


def test_hash_grids_lamps_and_all_losses(card, tmp_path):
    model = write_stable_diffusion(tmp_path / "model")
    numbers = (*COARSE, *ALL_LOSSES, "field.log2_table_size=12")
    made_object(card, model, tmp_path / "job", "--preset", "paper", "--steps", "2", numbers=numbers)


@pytest.mark.parametrize("preset", ["threestudio", "mv-sdi"])
def test_presets_of_others(cuda, preset, tmp_path):
    model = write_stable_diffusion(tmp_path / "model")
    numbers = (*COARSE, "field.log2_table_size=12")
    made_object(cuda, model, tmp_path / "job", "--preset", preset, "--steps", "1", numbers=numbers)


@pytest.mark.parametrize("write", [write_sdxl, write_sd3], ids=lambda write: write.__name__)
def test_larger_models(cuda, write, tmp_path):
    model = write(tmp_path / "model")
    made_object(cuda, model, tmp_path / "job", "--preset", "draft", "--steps", "1")


@pytest.mark.parametrize("task", ["texture", "refine"])
def test_a_mesh_that_there_is(card, task, tmp_path):
    model = write_stable_diffusion(tmp_path / "model")
    trimesh.creation.icosphere(3, 0.5).export(tmp_path / "ball.glb")
    options = ("--model", model, "--steps", "2", "--resolution", "16")
    lamps = ("lit=0.5", "shading_start=0")
    make(card, task, tmp_path / "job", tmp_path / "ball.glb", "a red ball", *options, numbers=lamps)


@pytest.mark.parametrize("noise", ["inversion", "sgd", "attached"])
def test_other_noise(cuda, noise, tmp_path):
    run = run_of(cuda, write_stable_diffusion(tmp_path / "model"), noise=noise, steps=2)
    assert run.advance().loss > 0.0


def test_a_run_goes_on_from_a_checkpoint_of_another_device(card, tmp_path):
    model, file = write_stable_diffusion(tmp_path / "model"), tmp_path / "checkpoint.safetensors"
    first, second = (run_of(device, model, steps=3) for device in (torch.device("cpu"), card))
    first.advance()
    checkpoint.save(first, file)
    checkpoint.load(second, file)
    assert second.advance().loss > 0.0
    numbers = [each for state in second.optimizer.state.values() for each in state.values() if each.dim()]
    assert {each.device.type for each in numbers} == {card.type}


IN_ORDER = itertools.accumulate([measure] for measure in MEASURES if measure not in PACKINGS)


@pytest.mark.parametrize("small_graph", [0, diffusers_prior.SMALL_GRAPH_BYTES], ids=["large graphs", "small graphs"])
@pytest.mark.parametrize("measures", list(IN_ORDER), ids=lambda measures: measures[-1])
def test_measures_against_too_little_memory(cuda, measures, small_graph, tmp_path, monkeypatch):
    monkeypatch.setattr(diffusers_prior, "SMALL_GRAPH_BYTES", small_graph)
    run = run_of(cuda, write_stable_diffusion(tmp_path / "model"), steps=2)
    run.prior.save_memory(measures)
    assert run.advance().loss > 0.0
    assert run.view([0.0], 10.0, 16).device.type == "cuda"


def test_a_model_packed_to_four_bits_with_every_measure(tmp_path):
    with pretended("cuda", memory=2**29):
        made_object(torch.device("cuda"), write_stable_diffusion(tmp_path / "model"), tmp_path / "job", "--steps", "2")
