"""A run resumed from a checkpoint ends like an uninterrupted one."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from coloured_ball import ColouredBall
from exact_prior import ExactPrior, ball_images
from safetensors.torch import load_file, save_file

from sdi_engine.config.ramp import Ramp, constant
from sdi_engine.config.settings import PRESETS
from sdi_engine.errors import BadInputError, StorageError
from sdi_engine.run import checkpoint
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.run.representations import represent

RESOLUTION = 16


@pytest.fixture(scope="module")
def prior():
    return ExactPrior({"ball": ball_images(RESOLUTION)})


NO_COUNTS = (
    *map(torch.tensor, (torch.inf, torch.nan, -1, 2.0, 1.5, True)),
    torch.tensor([1]),
    torch.zeros(2, dtype=torch.int64),
)
"""What a damaged file may have where a whole number belongs."""


def settings(preset="draft", **changes):
    options = {
        "steps": 6,
        "resolution": RESOLUTION,
        "guidance_scale": 3.0,
        "inversion_guidance_scale": -3.0,
        "perp_neg": "off",
        "samples_per_ray": 16,
    }
    return dataclasses.replace(PRESETS[preset], **(options | changes))


def paper(preset="paper"):
    """Hash grids, the environment map with its own learning rate, shading, and all regularisers."""
    field = dataclasses.replace(PRESETS[preset].field, log2_table_size=8)
    return settings(preset, field=field, shading_start=0.0, lit=0.7, occupancy_resolution=16)


def run_of(prior, chosen, steps=None, attempt=0):
    run = Optimisation(prior, "ball", "", chosen, seed=0, attempt=attempt)
    advance(run, chosen.steps if steps is None else steps)
    return run


def advance(run, steps):
    for _ in range(steps):
        run.advance()


def older_form(run, path):
    """Write a checkpoint in the old format, in which the optimiser numbered its parameters instead of naming them."""
    representation = run.representation
    tensors = {f"field.{name}": tensor for name, tensor in representation.field.state_dict().items()}
    if representation.environment is not None:
        tensors |= {f"environment.{name}": tensor for name, tensor in representation.environment.state_dict().items()}
    tensors |= {f"occupancy.{name}": tensor for name, tensor in representation.occupancy.state_dict().items()}
    for index, state in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors |= {"step": torch.tensor(run.step), "attempt": torch.tensor(run.attempt)}
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


CHEAPER = {"views": "antithetic", "inversion_share": constant(0.5), "target_steps": Ramp(2.0, 1.0)}


@pytest.mark.parametrize("preset", ["draft", "draft, cheaper", "paper", "threestudio", "mv-sdi"])
def test_a_resumed_run_ends_as_an_uninterrupted_one(prior, preset, tmp_path):
    draft = {"draft": {"noise": "inversion"}, "draft, cheaper": {"noise": "inversion"} | CHEAPER}
    chosen = settings(**draft[preset]) if preset in draft else paper(preset)
    start, whole = run_of(prior, chosen, steps=0), run_of(prior, chosen, steps=3)
    checkpoint.save(whole, tmp_path / "now")
    older_form(whole, tmp_path / "older form")
    advance(whole, 3)
    for file in ("now", "older form"):
        resumed = Optimisation(prior, "ball", "", chosen, seed=0)
        checkpoint.load(resumed, tmp_path / file)
        assert resumed.step == 3
        advance(resumed, 3)
        ends = resumed.representation.state_dict()
        if file == "now":
            assert resumed.residuals
            torch.testing.assert_close(torch.tensor(resumed.residuals), torch.tensor(whole.residuals))
        for name, tensor in whole.representation.state_dict().items():
            assert tensor.isfinite().all()
            torch.testing.assert_close(ends[name], tensor, atol=1e-6, rtol=1e-5, msg=f"{file}: {name}")
    if preset not in draft:
        name = "environment.network.0.weight"
        moved = (whole.representation.state_dict()[name] - start.representation.state_dict()[name]).abs().max()
        assert 0.0 < moved < 6 * 2e-3, "the environment map learns at its own rate"


@pytest.mark.parametrize("noise", ["attached", "cached-3d"])
@pytest.mark.parametrize("represent", [represent, ColouredBall], ids=["volume", "ball"])
def test_a_run_whose_noise_lives_on_the_object_goes_on_to_the_same_bits(prior, noise, represent, tmp_path):
    chosen, path = settings(noise=noise), tmp_path / "state.safetensors"

    def beginning():
        return Optimisation(prior, "ball", "", chosen, seed=0, represent=represent)

    whole, resumed = beginning(), beginning()
    drawn = whole.guidance.cells.values.clone()
    advance(whole, 3)
    checkpoint.save(whole, path)
    advance(whole, 3)
    checkpoint.load(resumed, path)
    assert not torch.equal(resumed.guidance.cells.values, drawn)
    advance(resumed, 3)
    assert torch.equal(resumed.guidance.cells.values, whole.guidance.cells.values)
    assert torch.equal(resumed.guidance.cells.kept, whole.guidance.cells.kept)
    ends = resumed.representation.state_dict()
    for name, tensor in whole.representation.state_dict().items():
        assert torch.equal(ends[name], tensor), name


def test_a_checkpoint_without_the_noise_that_a_run_needs_or_with_another_one_is_refused(prior, tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoint.save(run_of(prior, settings(noise="random"), steps=1), path)
    with pytest.raises(BadInputError, match="delete it to start the job over"):
        checkpoint.load(run_of(prior, settings(noise="attached"), steps=0), path)
    checkpoint.save(run_of(prior, settings(noise="attached"), steps=1), path)
    save_file(load_file(path) | {"noise.cells": torch.zeros(1, 3)}, path)
    with pytest.raises(BadInputError, match="delete it to start the job over"):
        checkpoint.load(run_of(prior, settings(noise="attached"), steps=0), path)


def test_the_optimisers_state_is_kept_under_the_names_of_the_parameters(prior, tmp_path):
    """So another group, or another order of groups, changes nothing."""
    chosen = paper()
    first = run_of(prior, chosen, steps=2)
    checkpoint.save(first, tmp_path / "state.safetensors")
    assert "optimizer.environment.network.0.weight.exp_avg" in load_file(tmp_path / "state.safetensors")

    def in_another_order(*arguments):
        representation = represent(*arguments)
        groups = representation.parameter_groups()[::-1]
        representation.parameter_groups = lambda: groups
        return representation

    second = Optimisation(prior, "ball", "", chosen, seed=0, represent=in_another_order)
    checkpoint.load(second, tmp_path / "state.safetensors")
    for (name, one), (_, other) in zip(
        first.representation.named_parameters(), second.representation.named_parameters(), strict=True
    ):
        states = first.optimizer.state.get(one, {}), second.optimizer.state.get(other, {})
        assert states[0].keys() == states[1].keys(), name
        for key, value in states[0].items():
            torch.testing.assert_close(states[1][key], value, msg=f"{name}, {key}")


def test_what_follows_from_the_progress_is_there_before_the_next_step(prior, tmp_path):
    """A finished run that is resumed is exported without another step."""
    chosen = settings(level_starts=(0.0, 0.5, 1.0))
    whole = run_of(prior, chosen)
    checkpoint.save(whole, tmp_path / "state.safetensors")
    resumed = Optimisation(prior, "ball", "", chosen, seed=0)
    checkpoint.load(resumed, tmp_path / "state.safetensors")
    assert resumed.representation.field.active_levels == whole.representation.field.active_levels == 2


def test_a_checkpoint_knows_its_attempt(prior, tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoint.save(run_of(prior, settings(), steps=1, attempt=2), path)
    assert checkpoint.attempt_of(path) == 2
    with pytest.raises(BadInputError, match="damaged or of another version"):
        checkpoint.load(Optimisation(prior, "ball", "", settings(), seed=0), path)


@pytest.mark.parametrize("write", [older_form, checkpoint.save], ids=["older form", "now"])
def test_a_checkpoint_of_other_settings_is_refused_in_a_sentence(prior, write, tmp_path):
    path = tmp_path / "state.safetensors"
    write(run_of(prior, paper(), steps=1), path)
    with pytest.raises(BadInputError, match="delete it to start the job over"):
        checkpoint.load(Optimisation(prior, "ball", "", settings(), seed=0), path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda tensors, name: tensors.pop(f"{name}.exp_avg"), id="a missing key"),
        pytest.param(lambda tensors, name: tensors.update({f"{name}.exp_avg": torch.zeros(2)}), id="another shape"),
        pytest.param(lambda tensors, name: tensors.update({f"{name}.more": torch.zeros(())}), id="another key"),
        *(
            pytest.param(lambda tensors, name, step=step: tensors.update(step=step), id=f"step {step}")
            for step in NO_COUNTS
        ),
        pytest.param(lambda tensors, name: tensors.update(step=torch.tensor(7)), id="a step after the last"),
        pytest.param(lambda tensors, name: tensors.update(residuals=torch.zeros(3)), id="residuals of another shape"),
        pytest.param(
            lambda tensors, name: tensors.update(residuals=torch.tensor([[0.5, torch.nan]])), id="NaN residuals"
        ),
        *(
            pytest.param(
                lambda tensors, name, count=count: tensors.update({f"{name}.step": count}), id=f"count {count}"
            )
            for count in map(torch.tensor, (torch.nan, -1.0, torch.inf, 2.0))
        ),
    ],
)
def test_a_damaged_state_is_refused_before_the_next_step_fails_with_it(prior, damage, tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoint.save(run_of(prior, settings(), steps=1), path)
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith(".exp_avg")).removesuffix(".exp_avg")
    damage(tensors, name)
    save_file(tensors, path)
    with pytest.raises(BadInputError, match="delete it to start the job over"):
        checkpoint.load(Optimisation(prior, "ball", "", settings(), seed=0), path)


@pytest.mark.parametrize("attempt", [*NO_COUNTS, torch.tensor(checkpoint.MAX_RESTARTS + 1)], ids=str)
def test_a_damaged_number_of_the_attempt_is_refused(attempt, tmp_path):
    path = tmp_path / "state.safetensors"
    save_file({"attempt": attempt}, path)
    with pytest.raises(BadInputError, match="delete it to start the job over"):
        checkpoint.attempt_of(path)


def test_a_run_with_several_steps_of_adam_in_each_of_its_own_goes_on(prior, tmp_path):
    chosen = settings(fits=2)
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(run_of(prior, chosen, steps=2), path)
    run = run_of(prior, chosen, steps=0)
    checkpoint.load(run, path)
    assert run.step == 2


def test_a_checkpoint_of_a_longer_run_does_not_fit(prior, tmp_path):
    """So one is tried with the preset as it is for models of all sizes."""
    path = tmp_path / "state.safetensors"
    checkpoint.save(run_of(prior, settings(), steps=2), path)
    assert checkpoint.fits(run_of(prior, settings(steps=2), steps=0), path)
    assert not checkpoint.fits(run_of(prior, settings(steps=1), steps=0), path)


def test_the_file_is_free_to_be_replaced_once_it_was_loaded(prior, tmp_path):
    """Windows refuses it for a file that is mapped into memory; the run would end at its next checkpoint."""
    path = tmp_path / "state.safetensors"
    checkpoint.save(run_of(prior, settings(noise="attached"), steps=2), path)
    resumed = run_of(prior, settings(noise="attached"), steps=0)
    checkpoint.load(resumed, path)
    if sys.platform == "linux":
        assert str(path) not in Path("/proc/self/maps").read_text()
    advance(resumed, 1)
    checkpoint.save(resumed, path)
    assert int(load_file(path)["step"]) == 3


def test_a_file_that_cannot_be_read_is_not_called_damaged(prior, tmp_path):
    """Its drive may be away for a moment: nobody is told to delete it."""
    run, path = run_of(prior, settings(), steps=0), tmp_path / "state.safetensors"
    looks = (
        lambda: checkpoint.load(run, path),
        lambda: checkpoint.fits(run, path),
        lambda: checkpoint.attempt_of(path),
        lambda: checkpoint.check_model(prior.weights, path),
    )
    for look in looks:
        with pytest.raises(StorageError, match="cannot be used"):
            look()
