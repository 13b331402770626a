"""A step that is interrupted in its middle is as if it had never begun; progress moves within it."""

import dataclasses
import json

import pytest
import torch
from exact_prior import ExactPrior, ball_images
from tiny_models import write_stable_diffusion

from sdi_engine.config.settings import PRESETS
from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import model_index
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE
from sdi_engine.radiance import patches
from sdi_engine.radiance.volume import OCCUPANCY_EVERY
from sdi_engine.run import attention, text_to_mesh
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.service import worker

STEPS = OCCUPANCY_EVERY + 1


class EnoughError(Exception):
    pass


@pytest.fixture
def small_patches(monkeypatch):
    """Four patches an image."""
    monkeypatch.setitem(patches.MAX_SAMPLES_PER_PATCH, "cpu", 16 * 16 * 8 // 4)
    monkeypatch.setitem(patches.MAX_EVALUATED_AT_ONCE, "cpu", 1)


def small_run(**changes):
    options = {"steps": STEPS, "resolution": 16, "samples_per_ray": 8, "views_per_step": 1, "guidance_scale": 3.0}
    settings = dataclasses.replace(PRESETS["draft"], inversion_guidance_scale=1.0, **(options | changes))
    return Optimisation(ExactPrior({"ball": ball_images(16)}), "ball", "", settings, seed=0)


def state_of(run):
    state = {name: tensor.clone() for name, tensor in run.representation.state_dict().items()}
    if run.guidance.cells is not None:
        state["cells"], state["kept"] = run.guidance.cells.values.clone(), run.guidance.cells.kept.clone()
    return state


@pytest.mark.parametrize(("noise", "fits"), [("inversion", 1), ("cached-3d", 1), ("cached-3d", 2)])
@pytest.mark.usefixtures("small_patches")
def test_a_step_that_is_given_up_anywhere_has_never_been(noise, fits):
    """Among the patches, both times, and before evaluations; in steps that look at the occupied cells, too."""
    run, whole = small_run(noise=noise, fits=fits), small_run(noise=noise, fits=fits)
    for step in range(STEPS):
        before = state_of(run)
        for stop_at in (0, 2, 5, 8, 999) if step in (0, OCCUPANCY_EVERY) else (999,):
            passed = []

            def stop(share, passed=passed, stop_at=stop_at):
                passed.append(share)
                if len(passed) > stop_at:
                    raise EnoughError

            run.safepoint = stop
            if stop_at == 999:
                run.advance()
                continue
            with pytest.raises(EnoughError):
                run.advance()
            for name, tensor in state_of(run).items():
                assert torch.equal(tensor, before[name]), name
        assert passed == sorted(passed), "progress goes back"
        assert len(set(passed)) > 8
        assert 0.0 <= passed[0] < passed[-1] < 1.0
        whole.advance()
    assert run.residuals == whole.residuals
    for name, tensor in state_of(whole).items():
        assert torch.equal(tensor, state_of(run)[name]), name


def test_a_model_on_the_processor_is_interrupted_between_its_blocks(tmp_path, monkeypatch):
    prior = load_prior(str(write_stable_diffusion(tmp_path / "model")), torch.device("cpu"))
    settings = dataclasses.replace(
        PRESETS["draft"], steps=2, resolution=16, samples_per_ray=4, guidance_scale=1.0, inversion_guidance_scale=1.0
    )
    run = Optimisation(prior, "a mug", "", settings, seed=0)
    backward, back_at = torch.Tensor.backward, []
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: back_at.append(len(reached)) or backward(loss))
    reached = []
    run.safepoint = reached.append
    run.advance()
    assert back_at[0] > 8, "not between the blocks of the encoder and the denoiser"
    assert len(reached) > back_at[0] + 2, "not on the way back through the encoder"
    assert reached == sorted(reached)
    assert len({share for share in reached if 0.2 < share < 0.8}) > 8, "a first step stands still in the model"
    run.advance()
    assert reached[-1] < 1.0
    before = len(reached)
    prior.encode(torch.zeros(1, 3, 16, 16))
    assert len(reached) == before, "somebody is told although the step is over"


@pytest.fixture
def make_job(tmp_path, monkeypatch, small_pictures, small_patches):
    monkeypatch.setattr(model_index, "words_of", lambda folder: {})
    monkeypatch.setattr(attention, "LISTEN_SECONDS", 0.0)
    monkeypatch.setattr(text_to_mesh, "load_prior", lambda *_: ExactPrior({"ball": ball_images(16)}))
    small = {"steps": STEPS, "views_per_step": 1, "texture_size": 64, "face_budget": 500, "device": "cpu"}
    numbers = {"mesh_resolution": 32, "samples_per_ray": 8, "noise": "inversion"}
    request = JobRequest("ball", preset="draft", **small | {"noise": "inversion"}, overrides=numbers)
    return lambda name: JobFolder.create(tmp_path / name, request)


def flag_at(monkeypatch, folder, flag, step, safepoint):
    """Make the engine find a flag in the middle of a step."""
    call = attention.Attention.__call__
    reached = []

    def watched(self, share):
        if self._run.step == step:
            reached.append(share)
            if len(reached) == safepoint:
                flag.touch()
        call(self, share)

    monkeypatch.setattr(attention.Attention, "__call__", watched)
    return reached


def test_a_run_that_is_paused_in_a_step_goes_on_to_the_same_object(make_job, monkeypatch):
    whole, paused = make_job("whole"), make_job("paused")
    assert worker.run(whole.path, resume=False) == EXIT_DONE
    for step in (0, OCCUPANCY_EVERY):
        with monkeypatch.context() as patch:
            reached = flag_at(patch, paused, paused.pause_flag, step=step, safepoint=6)
            assert worker.run(paused.path, resume=step > 0) == EXIT_CANCELLED
        assert len(reached) == 6, "it went on after it was told"
    assert worker.run(paused.path, resume=True) == EXIT_DONE
    assert paused.mesh_file.read_bytes() == whole.mesh_file.read_bytes()


def test_the_state_is_taken_in_the_middle_of_a_step_and_progress_moves_within_the_first(make_job, monkeypatch):
    folder = make_job("job")
    reached = flag_at(monkeypatch, folder, folder.finish_flag, step=3, safepoint=6)
    assert worker.run(folder.path, resume=False) == EXIT_DONE
    assert len(reached) == 6
    assert json.loads(folder.result_file.read_text())["steps"] == 3
    said = [event for event in events.read_new(folder.events_file, 0)[0] if isinstance(event, events.Progress)]
    said = [event for event in said if event.phase == attention.PHASE]
    shares = [event.share for event in said]
    assert len([event for event in said if event.step == 0]) > 4
    assert shares == sorted(shares)
    assert 0.5 < shares[-1] < 1.0
