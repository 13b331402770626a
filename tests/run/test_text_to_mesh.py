"""From a request to a mesh with the closed-form model of a ball, including runs that fail on purpose."""

import json
import math
import time

import pytest
import torch
from exact_prior import ExactPrior, ball_images

from sdi_engine.config import quality
from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import model_index
from sdi_engine.diffusion.prior import ModelHints
from sdi_engine.diffusion.read_share import downloading
from sdi_engine.errors import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, EXIT_NO_OBJECT, EXIT_OUT_OF_MEMORY
from sdi_engine.run import attention, checkpoint_writer, text_to_mesh
from sdi_engine.run.optimisation import Optimisation
from sdi_engine.run.text_to_mesh import residual_curve
from sdi_engine.service import worker

pytestmark = pytest.mark.usefixtures("small_pictures")

STEPS = 14
"""More than until the volume is looked at, for fog and the like."""


@pytest.fixture(autouse=True)
def unknown_words(monkeypatch):
    """The exact prior stands in for the starter prior, and knows other words."""
    monkeypatch.setattr(model_index, "words_of", lambda folder: {})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    prior = ExactPrior({"ball": ball_images(16)})
    monkeypatch.setattr(text_to_mesh, "load_prior", lambda *_: prior)
    coarse = {"mesh_resolution": 24, "samples_per_ray": 24}
    small = {"steps": STEPS, "texture_size": 64, "face_budget": 200, "overrides": coarse}
    request = JobRequest("ball", preset="draft", device="cpu", **small)
    return JobFolder.create(tmp_path / "job", request)


@pytest.mark.parametrize(
    "changes", [{"overrides": {"mesh_resolution": -1}}, {"views": "antithetic", "views_per_step": 3}], ids=str
)
def test_invalid_settings_are_refused_before_the_model_is_loaded(tmp_path, monkeypatch, changes):
    monkeypatch.setattr(text_to_mesh, "load_prior", lambda *_: pytest.fail("the model was loaded first"))
    folder = JobFolder.create(tmp_path / "job", JobRequest("ball", preset="draft", device="cpu"))
    request = json.loads(folder.request_file.read_text())
    folder.request_file.write_text(json.dumps(request | changes))
    assert worker.run(folder.path, resume=False) == EXIT_BAD_INPUT


def test_a_download_is_counted_beside_loading(folder, monkeypatch):
    load = text_to_mesh.load_prior

    def downloaded(*asked):
        with downloading():
            time.sleep(0.05)
        return load(*asked)

    monkeypatch.setattr(text_to_mesh, "load_prior", downloaded)
    assert worker.run(folder.path, resume=False) == EXIT_DONE
    seconds = json.loads(folder.result_file.read_text())["seconds"]
    assert seconds["download"] >= 0.05
    assert seconds["load"] >= 0.0


@pytest.fixture
def poison(monkeypatch):
    """Fill the field with a bias at step 6 of the given attempts."""

    def fill(bias, attempts):
        advance = Optimisation.advance

        def poisoned(self):
            if self.step == 6 and self.attempt in attempts:
                with torch.no_grad():
                    self.representation.field.output.bias.fill_(bias)
            return advance(self)

        monkeypatch.setattr(Optimisation, "advance", poisoned)

    return fill


def happened(folder):
    return events.read_new(folder.events_file, 0)[0]


@pytest.mark.parametrize(("bias", "word"), [(float("nan"), "broke down"), (-1e3, "empty"), (1e3, "fog")])
def test_a_run_without_an_object_is_started_over_and_reports_it(folder, poison, bias, word):
    poison(bias, {0})
    assert worker.run(folder.path, resume=False) == EXIT_DONE
    notices = [event.message for event in happened(folder) if isinstance(event, events.Notice)]
    assert len(notices) == 1
    assert word in notices[0]
    assert "Starting over (2 of 3)" in notices[0]
    result = json.loads(folder.result_file.read_text())
    assert result["attempts"] == 2
    assert len(result["residuals"]) == STEPS
    assert result["residuals"][0][0] > result["residuals"][-1][0] > 0.0, "t falls, and the first attempt does not count"
    assert folder.mesh_file.is_file()


def test_a_run_that_never_makes_an_object_ends_with_its_exit_code_and_a_sentence(folder, poison):
    poison(float("nan"), {0, 1, 2})
    assert worker.run(folder.path, resume=False) == EXIT_NO_OBJECT
    notices = [event for event in happened(folder) if isinstance(event, events.Notice)]
    (failed,) = [event for event in happened(folder) if isinstance(event, events.Failed)]
    assert len(notices) == 2
    assert failed.exit_code == EXIT_NO_OBJECT
    assert "broke down" in failed.message
    assert folder.result() is None


def test_who_takes_the_state_as_it_is_waits_for_no_run_from_the_beginning(folder, poison, monkeypatch):
    poison(float("nan"), {0})
    advance = Optimisation.advance

    def finish_at_six(self):
        if self.step == 6:
            folder.finish_flag.touch()
        return advance(self)

    monkeypatch.setattr(Optimisation, "advance", finish_at_six)
    monkeypatch.setattr(attention, "LISTEN_SECONDS", math.inf)
    assert worker.run(folder.path, resume=False) == EXIT_NO_OBJECT
    assert not [event for event in happened(folder) if isinstance(event, events.Notice)]


def test_a_run_cancelled_in_its_second_attempt_resumes_that_attempt(folder, poison, monkeypatch):
    poison(float("nan"), {0})
    advance = Optimisation.advance

    def cancel_at_ten(self):
        if self.step == 10:
            folder.cancel_flag.touch()
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Optimisation, "advance", cancel_at_ten)
        patch.setattr(attention, "LISTEN_SECONDS", math.inf)  # however slow the computer, not in the middle of a step
        assert worker.run(folder.path, resume=False) == EXIT_CANCELLED
    steps = []

    def watched(self):
        steps.append((self.attempt, self.step))
        return advance(self)

    monkeypatch.setattr(Optimisation, "advance", watched)
    assert worker.run(folder.path, resume=True) == EXIT_DONE
    assert steps[0] == (1, 11)
    assert steps[-1] == (1, STEPS - 1)


@pytest.fixture
def small_memory(folder, monkeypatch):
    """From its step 6 on a run has no memory for more than so many pictures at once."""

    def hold(pictures):
        prior = text_to_mesh.load_prior()
        predict, advance, steps = prior.predict_unguided, Optimisation.advance, []

        def predicted(x, t, text):
            if steps[-1] >= 6 and len(x) > pictures:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return predict(x, t, text)

        def advanced(self):
            steps.append(self.step)
            return advance(self)

        monkeypatch.setattr(prior, "predict_unguided", predicted)
        monkeypatch.setattr(Optimisation, "advance", advanced)
        monkeypatch.setattr(checkpoint_writer, "seconds_apart", lambda *_: 0.0)
        return steps

    return hold


def test_where_memory_runs_out_a_run_goes_on_from_its_last_checkpoint_with_one_measure_more(folder, small_memory):
    steps = small_memory(pictures=1)
    assert worker.run(folder.path, resume=False) == EXIT_DONE
    (notice,) = [event.message for event in happened(folder) if isinstance(event, events.Notice)]
    again = steps[7]
    assert 0 < again <= 6
    done = "from now on the model is asked about one picture at a time"
    assert notice == f"Memory ran out: {done}. Going on from step {again} of {STEPS}."
    assert steps == [*range(7), *range(again, STEPS)]
    assert json.loads(folder.result_file.read_text())["attempts"] == 1


def test_where_no_measure_helps_a_setting_is_named_that_needs_less(folder, small_memory):
    steps = small_memory(pictures=0)
    assert worker.run(folder.path, resume=False) == EXIT_OUT_OF_MEMORY
    assert len(steps) < 20
    (failed,) = [event for event in happened(folder) if isinstance(event, events.Failed)]
    assert "start anew with a resolution of 16 and 1 view per step, or the device cpu" in failed.message
    assert folder.checkpoint_file.is_file()


def test_a_curve_has_a_mean_of_as_many_steps_at_each_of_its_points():
    assert residual_curve([]) == []
    assert residual_curve([(0.9, 2.0)]) == [[0.9, 2.0]]
    assert residual_curve([(0.9, 2.0), (0.7, 4.0), (0.5, 1.0), (0.3, 3.0)], 2) == [[0.8, 3.0], [0.4, 2.0]]


def test_a_job_of_before_there_were_classes_of_models_goes_on_as_it_was_begun(folder, monkeypatch):
    advance = Optimisation.advance

    def pause_at_ten(self):
        if self.step == 10:
            folder.pause_flag.touch()
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Optimisation, "advance", pause_at_ten)
        assert worker.run(folder.path, resume=False) == EXIT_CANCELLED
    monkeypatch.setattr(quality, "LARGE_IMAGES", 16)  # the model, of 16 pixels, is a large one from now on
    assert worker.run(folder.path, resume=True) == EXIT_DONE
    result = json.loads(folder.result_file.read_text())
    assert result["settings"]["field"]["grid_resolutions"] == [12, 24, 48]
    assert result["steps"] == STEPS


KNOWS = {"things": ["ball"], "colours": ["red"]}


def run_small(tmp_path, monkeypatch, prompt, negative_prompt=""):
    """Run a job with a model that knows two words; returns its exit code and its folder."""
    prior = ExactPrior({"ball": ball_images(16)})
    prior.hints = ModelHints(guidance_scale=1.0, knows=KNOWS)
    monkeypatch.setattr(text_to_mesh, "load_prior", lambda *_: prior)
    request = JobRequest(prompt, negative_prompt=negative_prompt, preset="draft", steps=30, device="cpu")
    folder = JobFolder.create(tmp_path / "job", request)

    def stop_before_the_first_step(*arguments):
        folder.cancel_flag.touch()
        folder.stop_if_told()

    monkeypatch.setattr(text_to_mesh, "_optimise", stop_before_the_first_step)
    return worker.run(folder.path, resume=False), folder


def test_a_prompt_without_a_known_word_is_refused(tmp_path, monkeypatch):
    code, folder = run_small(tmp_path, monkeypatch, "a dragon")
    assert code == EXIT_BAD_INPUT
    (failed,) = [event for event in happened(folder) if isinstance(event, events.Failed)]
    assert failed.message.startswith(
        'This model does not know any word of "a dragon": choose a real model, or one of the things'
    )


def test_words_that_are_ignored_in_both_prompts_are_reported(tmp_path, monkeypatch):
    code, folder = run_small(tmp_path, monkeypatch, "a shiny red ball.", "ugly, red")
    assert code == EXIT_CANCELLED
    notices = [event.message for event in happened(folder) if isinstance(event, events.Notice)]
    assert [notice[:42] for notice in notices] == [
        'This model does not know "shiny" and ignor',
        "Of the negative prompt: This model does no",
    ]
