"""How far a job is, in words."""

from sdi_text_to_3d.jobs import words
from sdi_text_to_3d.sdi_engine.contract.events import Progress


def test_a_phase_has_steps_or_a_share_or_neither():
    assert words.steps(Progress("Optimising", 135, 300, 4.13, 41.0)) == "135/300 · 4.1 steps/s · 0:41 left"
    assert words.steps(Progress("Optimising", 0, 300, within=0.41)) == "0/300 and 41 %", "a sign of life"
    assert words.steps(Progress("Optimising", 2, 300, 1 / 95, within=0.41)) == "2/300 and 41 % · 95 s/step"
    assert words.steps(Progress("Optimising", 2, 300, 4.0, within=0.41)) == "2/300 · 4.0 steps/s"
    assert words.steps(Progress("Loading the model", 0, 1, eta=83.0, within=0.416)) == "42 % · 1:23 left"
    assert words.steps(Progress("Saving", 0, 1)) == ""


def test_in_one_line_a_phase_without_steps_has_its_name():
    assert words.phase_and_steps(Progress("Optimising", 1, 2)) == "1/2"
    assert words.phase_and_steps(Progress("Loading the model", 0, 1, within=0.4)) == "Loading the model · 40 %"
    assert words.phase_and_steps(Progress("Saving", 0, 1)) == "Saving"
