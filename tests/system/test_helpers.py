"""A script that works in a process of its own answers, fails with what it said, and is ended where nobody waits."""

import itertools

import pytest

from sdi_engine.system import helpers
from sdi_engine.system.helpers import HelperFailedError, answer_of
from sdi_engine.system.occasions import at_occasions

SLEEPER = """
import sys, time
from pathlib import Path
sys.stdin.buffer.read()
Path({begun!r}).touch()
time.sleep(60)
Path({went_on!r}).touch()
"""


class NobodyWaitsError(Exception):
    pass


@pytest.fixture
def sleeper(tmp_path):
    """A script that sleeps; and what it touches before, and after."""
    begun, went_on = tmp_path / "begun", tmp_path / "went on"
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER.format(begun=str(begun), went_on=str(went_on)))
    return script, begun, went_on


def test_it_is_asked_and_answers_whenever_it_begins_to_read(tmp_path, monkeypatch):
    monkeypatch.setattr(helpers, "LOOK_SECONDS", 0.001)  # less than it takes to start
    script = tmp_path / "upper.py"
    script.write_text("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read().upper())")
    asked = b"ab" * 200_000  # more than a pipe holds
    assert answer_of(script, asked, 300.0) == asked.upper()


def test_its_error_has_what_it_said(tmp_path):
    script = tmp_path / "failing.py"
    script.write_text("raise SystemExit('the thread is torn')")
    with pytest.raises(HelperFailedError, match="ended with code 1: the thread is torn"):
        answer_of(script, b"")


def test_it_is_ended_where_nobody_waits_any_more(sleeper):
    script, begun, went_on = sleeper

    def look():
        if begun.exists():
            raise NobodyWaitsError

    with at_occasions(look), pytest.raises(NobodyWaitsError):
        answer_of(script, b"asked")
    assert not went_on.exists()


def test_it_is_ended_after_the_most_that_it_may_take(sleeper):
    script, _, went_on = sleeper
    minutes = itertools.count(step=60.0)
    with pytest.raises(HelperFailedError, match="has not come to an end"):
        answer_of(script, b"asked", 5.0, clock=lambda: next(minutes))
    assert not went_on.exists()
