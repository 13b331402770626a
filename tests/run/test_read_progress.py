"""How much of a model has been read is reported now and then, with what the rest takes once that can be told."""

import pytest
import torch

from sdi_engine.contract.events import Progress
from sdi_engine.diffusion.header import Entry
from sdi_engine.diffusion.read_share import count_downloaded, count_read, expect
from sdi_engine.errors import JobCancelledError
from sdi_engine.run.read_progress import read_progress


def test_it_is_told_in_shares_and_seconds():
    now, told = [0.0], []
    with read_progress("Loading the model", told.append, clock=lambda: now[0]):
        expect([{"weight": Entry("F16", (10, 4))}])
        for seconds in (0.1, 1.0, 4.0, 4.1):
            now[0] = seconds
            count_read(torch.zeros(8))
    assert [(event.phase, event.share) for event in told] == [("Loading the model", 0.4), ("Loading the model", 0.6)]
    assert [event.eta for event in told] == [None, pytest.approx(3.9 / 0.4 * 0.4)]


def test_time_before_the_first_weights_is_not_taken_for_slow_reading():
    """Libraries are imported there, so that little read after seconds came to days."""
    now, told = [0.0], []
    with read_progress("Loading the model", told.append, clock=lambda: now[0]):
        expect([{"weight": Entry("F16", (100,))}])
        for seconds, numbers in ((60.0, 1), (63.0, 0), (64.0, 9), (65.0, 20)):
            now[0] = seconds
            count_read(torch.zeros(numbers))
    assert [event.eta for event in told] == [None, pytest.approx(4.0 / 9 * 90), pytest.approx(5.0 / 29 * 70)]


def test_a_download_is_a_phase_of_its_own_and_what_stands_still_is_told_once():
    now, events = [0.0], []
    with read_progress("Loading the model", events.append, clock=lambda: now[0]):
        for seconds, share in ((10.0, 0.1), (12.0, 0.1), (14.0, 0.1), (20.0, 0.6)):
            now[0] = seconds
            count_downloaded(share)
        expect([{"weight": Entry("F16", (10,))}])
        now[0] = 30.0
        count_read(torch.zeros(5))
    assert [(event.phase, event.share, event.eta) for event in events] == [
        ("Downloading the model", 0.1, None),
        ("Downloading the model", 0.6, pytest.approx(10.0 / 0.5 * 0.4)),
        ("Loading the model", 0.5, None),
    ]


def test_what_nobody_waits_for_is_not_counted():
    expect([{"weight": Entry("F16", (10,))}])
    count_read(torch.zeros(10))


def test_a_cancel_comes_out_as_one_whatever_a_library_makes_of_it():
    def cancelled(event):
        assert isinstance(event, Progress)
        raise JobCancelledError("The job was cancelled.")

    seconds = iter(range(9))

    def read():
        expect([{"weight": Entry("F16", (10,))}])
        try:
            count_read(torch.zeros(1))
        except Exception as error:
            raise OSError("the file is damaged") from error

    with pytest.raises(JobCancelledError), read_progress("Loading the model", cancelled, clock=lambda: next(seconds)):
        read()
