"""A person is heard while a model is read, inside of libraries that make other errors of what is raised in them."""

import pytest
import torch
from tiny_models import write_stable_diffusion

from sdi_engine.contract import events
from sdi_engine.contract.job_folder import JobFolder
from sdi_engine.contract.request import JobRequest
from sdi_engine.errors import EXIT_CANCELLED, JobCancelledError
from sdi_engine.run import listening
from sdi_engine.service import worker


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


@pytest.mark.parametrize(("flag", "state"), [("cancel", events.CANCELLED), ("pause", events.PAUSED)])
def test_a_job_is_stopped_while_its_model_is_read(tmp_path, monkeypatch, flag, state):
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
    assert worker.run(folder.path, resume=False) == EXIT_CANCELLED
    assert len(read) == 3, "it went on after it was told"
    assert events.read_new(folder.events_file, 0)[0][-1].state == state
