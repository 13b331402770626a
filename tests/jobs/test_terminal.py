"""A job's output in a terminal."""

import io
import os
import sys
import tempfile

import pytest
from sdi_text_to_3d.jobs.job import Job
from sdi_text_to_3d.jobs.terminal import ProgressDisplay, say
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


@pytest.fixture
def two_jobs(tmp_path):
    jobs = []
    for number, step in enumerate((25, 50), 1):
        folder = JobFolder.create(tmp_path / f"job {number}", JobRequest("a mug"))
        folder.append(events.Progress("Optimising", step, 100))
        jobs.append(Job(folder))
        jobs[-1].refresh(waits=True)
    return jobs


def test_jobs_made_at_once_have_lines_of_their_own_in_a_file(two_jobs):
    written = io.StringIO()
    display = ProgressDisplay(written)
    for number, job in enumerate(two_jobs, 1):
        display(job, f"[{number}/2]")
    assert [line.split() for line in written.getvalue().splitlines()] == [
        ["[1/2]", "Optimising", "[######------------------]", "25/100"],
        ["[2/2]", "Optimising", "[############------------]", "50/100"],
    ]


def test_jobs_made_at_once_share_a_line_in_a_terminal_until_they_are_over(two_jobs):
    written = Terminal()
    display = ProgressDisplay(written)
    for number, job in enumerate(two_jobs, 1):
        display(job, f"[{number}/2]")
    assert written.getvalue().rpartition("\r")[2] == "[1/2] Optimising 25% | [2/2] Optimising 50%"
    two_jobs[0].withdraw()
    display(two_jobs[0], "[1/2]")
    two_jobs[1].progress = events.Progress("Optimising", 75, 100)
    display(two_jobs[1], "[2/2]")
    assert written.getvalue().rpartition("\r")[2].rstrip() == "[2/2] Optimising 75%"
    assert "\n" not in written.getvalue()


@pytest.fixture
def unread():
    """A stream whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream


def test_a_reader_that_has_left_ends_no_work(two_jobs, unread):
    display = ProgressDisplay(unread)
    for job in two_jobs:
        display(job)
    display.close()
    say("2 of 2 objects made", unread)


def test_what_an_encoding_lacks_ends_no_work():
    with tempfile.TemporaryFile("w+", encoding="cp1252") as stream:
        say("\u5c3a\u5b50 and \u00e9", stream)
        stream.seek(0)
        assert stream.read() == "?? and \u00e9\n"


def test_a_blender_without_a_terminal_does_its_work(two_jobs, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    display = ProgressDisplay()
    display(two_jobs[0])
    display.close()
    say("1 of 1 objects made")
