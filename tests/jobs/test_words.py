"""How far a job is, in words."""

import pytest
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


@pytest.mark.parametrize(
    ("seconds", "exact", "roughly"),
    [
        (-3.0, "0:00", "Less than a minute"),
        (45.0, "0:45", "Less than a minute"),
        (65.0, "1:05", "About a minute"),
        (90.0, "1:30", "About 2 minutes"),
        (3599.6, "1:00:00", "About 60 minutes"),
        (3665.0, "1:01:05", "About 61 minutes"),
        (9000.0, "2:30:00", "About 2.5 hours"),
    ],
)
def test_times_in_words(seconds, exact, roughly):
    assert words.duration(seconds) == exact
    assert words.about(seconds) == roughly


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("starter", "starter"),
        ("stabilityai/sdxl-turbo", "sdxl-turbo"),
        ("C:\\models\\mine\\", "mine"),
        ("/models/mine.safetensors", "mine.safetensors"),
        ("/", "/"),
    ],
)
def test_a_model_is_called_by_the_last_part_of_its_place(model, name):
    assert words.short_model(model) == name


def test_before_it_has_said_anything_a_job_waits_for_the_engine_then_for_its_turn():
    said = [words.before_any_news(*each) for each in (("queued", True), ("queued", False), ("starting", False))]
    assert said == ["Starting the engine", "Waiting for its turn", "Starting"]


def test_buttons_say_where_a_result_goes():
    again = [words.import_label(task, is_imported=True) for task in ("object", "texture", "refine")]
    assert again == ["Import Again", "Put on Object", "Put on Object"]
    assert words.import_label("object") == "Put into Scene"


def test_what_is_too_long_is_said_to_be():
    assert words.shortened("a red mug", 9) == "a red mug"
    assert words.shortened("a red mug", 8) == "a red m…"
    assert words.shortened("a red mug", 7) == "a red…"
