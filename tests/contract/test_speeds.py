"""How fast runs were on this machine, and what another one will take."""

import pytest

from sdi_engine.config.asked import settings_asked_for
from sdi_engine.contract import speeds
from sdi_engine.contract.request import JobRequest
from sdi_engine.contract.speeds import Speed
from sdi_engine.run import speed
from sdi_engine.system.machine import own_folder

CACHED = JobRequest("a red mug", preset="paper", noise="cached-3d", perp_neg="off")


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("SDI_ENGINE_STATE", str(tmp_path / "state"))


def test_a_run_of_a_kind_that_was_made_here_is_foretold_and_no_other():
    speed.remember(CACHED, 512, {"load": 20.0, "optimise": 500.0, "optimise_model": 100.0, "save": 5.0}, range(0, 200))
    known = speeds.read()
    assert known == {speeds.kind_of(CACHED): Speed(0.25, 2.0, 25.0, 512)}
    same = JobRequest("another", preset="paper", noise="cached-3d", perp_neg="off", steps=1000, seed=3)
    assert speeds.seconds_of(same, known) == pytest.approx(25.0 + 1000 * 2.0 + 2 * 1000 * 0.25)
    inverted = JobRequest("a red mug", preset="paper", perp_neg="off", steps=1000)
    assert speeds.evaluations_in(settings_asked_for(inverted)) == pytest.approx(2 * 1000 * (1 + 5.4), rel=0.02)
    assert speeds.seconds_of(inverted, known) > speeds.seconds_of(same, known)
    for other in (
        {"model": "owner/name"},
        {"preset": "draft"},
        {"device": "cpu"},
        {"resolution": 64},
        {"precision": "8-bit"},
    ):
        assert speeds.seconds_of(JobRequest("a red mug", **{"preset": "paper"} | other), known) is None


def test_a_run_that_goes_on_counts_the_steps_that_it_did():
    speed.remember(CACHED, 512, {"optimise": 50.0, "optimise_model": 10.0}, range(9990, 10_000))
    assert speeds.read()[speeds.kind_of(CACHED)] == Speed(0.5, 4.0, 0.0, 512)


def test_a_download_is_not_foretold_of_the_next_run():
    speed.remember(CACHED, 512, {"download": 900.0, "load": 20.0, "optimise": 50.0, "optimise_model": 10.0}, range(20))
    assert speeds.read()[speeds.kind_of(CACHED)].around == 20.0


def test_a_short_run_says_nothing_and_a_damaged_file_neither():
    speed.remember(CACHED, 512, {"optimise": 5.0, "optimise_model": 1.0}, range(3))
    assert speeds.read() == {}
    file = own_folder() / speeds.FILE
    for damaged in ("", "[]", '{"a": 1, "b": {"evaluation": -1, "step": 1, "around": 1}, "c": {"step": NaN}}'):
        file.write_text(damaged)
        assert speeds.read() == {}


def test_the_kinds_of_long_ago_are_forgotten(monkeypatch):
    monkeypatch.setattr(speeds, "MOST_KEPT", 2)
    for preset in ("draft", "standard", "draft", "paper"):
        speeds.record(JobRequest("a red mug", preset=preset), Speed(1.0, 1.0, 1.0, 64))
    kept = [speeds.kind_of(JobRequest("another", preset=preset)) for preset in ("draft", "paper")]
    assert list(speeds.read()) == kept
