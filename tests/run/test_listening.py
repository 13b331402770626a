"""A person is heard in every phase of a job, not only between two: while a model is read, inside of libraries that make
other errors of what is raised in them, and while a mesh is read, made and saved."""

import dataclasses

import pytest
import torch
from exact_prior import ExactPrior, ball_images
from sources import cube, grid
from tiny_models import write_stable_diffusion

from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.job_queue import SAMPLE
from sdi_engine.contract.request import JobRequest
from sdi_engine.diffusion import model_index
from sdi_engine.errors import EXIT_CANCELLED, EXIT_DONE, JobCancelledError
from sdi_engine.run import listening, text_to_mesh
from sdi_engine.service import worker
from sdi_engine.service.own_process import OwnProcess
from sdi_engine.surface.source import write_source
from sdi_engine.system.occasions import occasion


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(listening, "LISTEN_SECONDS", 0.0)


def test_a_library_that_makes_another_error_of_it_does_not_hide_it():
    told = []

    def look():
        if told:
            raise JobCancelledError("The job was cancelled.")

    def read():
        told.append(True)
        try:
            torch.zeros(1).add(1)
        except Exception as error:
            raise OSError("the file is damaged") from error
        raise AssertionError("it went on after it was told")

    with pytest.raises(JobCancelledError), listening.listening(look):
        read()


def test_other_errors_stay_as_they_are():
    with pytest.raises(OSError, match="damaged"), listening.listening(lambda: None):
        raise OSError("the file is damaged")


def sampled(path, resume):
    return OwnProcess().do(path, SAMPLE).exit_code


@pytest.mark.parametrize("do", [worker.run, sampled])
@pytest.mark.parametrize(("flag", "state"), [("cancel", events.CANCELLED), ("pause", events.PAUSED)])
def test_a_job_is_stopped_while_its_model_is_read(tmp_path, monkeypatch, flag, state, do):
    model = write_stable_diffusion(tmp_path / "model")
    folder = JobFolder.create(tmp_path / "job", JobRequest("a mug", model=str(model), preset="draft", device="cpu"))
    read = []
    isfinite = torch.Tensor.isfinite  # every tensor that is read is looked at

    def looked_at(tensor):
        read.append(tensor)
        if len(read) == 3:
            (folder.path / flag).touch()
        return isfinite(tensor)

    monkeypatch.setattr(torch.Tensor, "isfinite", looked_at)
    assert do(folder.path, resume=False) == EXIT_CANCELLED
    assert len(read) == 3, "it went on after it was told"
    assert events.read_new(folder.events_file, 0)[0][-1].state == state


def test_every_occasion_is_one_to_look():
    asked = []
    with listening.listening(lambda: asked.append(True)):
        occasion()
        occasion()
    assert len(asked) == 3, "at first, and at each of the two"


@pytest.fixture
def new_job(tmp_path, monkeypatch, small_pictures):
    """A job of a task, about a mesh where the task is, that needs no model."""
    monkeypatch.setattr(model_index, "words_of", lambda folder: {})
    monkeypatch.setattr(text_to_mesh, "load_prior", lambda *_: ExactPrior({"ball": ball_images(16)}))
    numbers = {"samples_per_ray": 8, "mesh_resolution": 32, "noise": "random"}
    small = {"preset": "draft", "steps": 3, "texture_size": 64, "resolution": 16, "device": "cpu"}

    def create(task, source=None):
        of_task = {} if source else {"face_budget": 200, "lods": 1, "overrides": numbers}
        folder = JobFolder.create(tmp_path / "job", JobRequest("ball", task=task, **small | of_task))
        if source is not None:
            write_source(folder.source_file, source)
        return folder

    return create


OBJECT = ["Extracting the surface", "Unwrapping", "Baking the texture", "Making level of detail 1", "Saving"]
OF_A_MESH = ["Reading the mesh", "Baking the texture", "Saving"]


@pytest.mark.parametrize(
    ("task", "source", "phase"),
    [
        *[("object", None, phase) for phase in OBJECT],
        *[("texture", dataclasses.replace(cube(), uv=None), phase) for phase in OF_A_MESH],
        ("texture", grid(), "Reading the mesh"),
        ("refine", grid(), "Reading the mesh"),
    ],
    ids=str,
)
def test_a_job_is_stopped_in_the_middle_of_a_phase_and_goes_on_from_there(new_job, caplog, task, source, phase):
    folder, steps = new_job(task, source), []

    def stop(event):
        if isinstance(event, events.Progress) and event.phase == phase:
            folder.pause_flag.touch()

    def watch(event):
        if isinstance(event, events.Progress) and event.phase == "Optimising":
            steps.append(event.step)

    caplog.set_level("INFO")
    assert worker.run(folder.path, resume=False, listener=stop) == EXIT_CANCELLED
    assert events.read_new(folder.events_file, 0)[0][-1].state == events.PAUSED
    assert not [record for record in caplog.records if record.getMessage().startswith(f"{phase}: ")], "it was finished"
    assert worker.run(folder.path, resume=True, listener=watch) == EXIT_DONE
    assert steps[0] == (0 if phase == "Reading the mesh" else 3)


def test_a_mesh_that_was_taken_early_is_not_lost_where_its_making_is_stopped(new_job):
    folder, steps = new_job("object"), []

    def stop(event):
        if isinstance(event, events.PreviewSaved) and event.step == 2:
            folder.finish_flag.touch()
        if isinstance(event, events.Progress) and event.phase == "Unwrapping":
            folder.cancel_flag.touch()

    def watch(event):
        if isinstance(event, events.Progress) and event.phase == "Optimising":
            steps.append(event.step)

    assert worker.run(folder.path, resume=False, listener=stop) == EXIT_CANCELLED
    assert worker.run(folder.path, resume=True, listener=watch) == EXIT_DONE
    assert steps[0] == 2
