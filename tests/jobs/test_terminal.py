"""A job's output in a terminal."""

import io

import pytest
from sdi_text_to_3d.jobs.job import Job
from sdi_text_to_3d.jobs.terminal import ProgressDisplay
from sdi_text_to_3d.sdi_engine.contract import events
from sdi_text_to_3d.sdi_engine.contract.job_folder import JobFolder
from sdi_text_to_3d.sdi_engine.contract.request import JobRequest


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_job_from_elsewhere_cannot_control_the_terminal(tmp_path, stream):
    folder = JobFolder.create(tmp_path / "job", JobRequest("a mug"))
    folder.append(events.Notice("look \x1b]0;owned\x07\nERROR forged \u202eback"))
    folder.append(events.Progress("Optimising\x1b[2J", 1, 2))
    job = Job(folder)
    job.refresh(waits=True)
    written = stream()
    display = ProgressDisplay(written)
    display(job)
    display.close()
    first, *_ = written.getvalue().splitlines()
    assert first == r"look \x1b]0;owned\x07\nERROR forged \u202eback"
    assert r"Optimising\x1b[2J" in written.getvalue()
    assert "\x1b" not in written.getvalue()
