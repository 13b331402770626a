import pytest

from sdi_engine.diffusion.views import all_view_words, longest_view, view_words, with_view, without_view


@pytest.mark.parametrize(
    ("azimuth", "four", "eight"),
    [
        (0.0, "front view", "front view"),
        (44.0, "front view", "front left view"),
        (90.0, "side view", "left side view"),
        (180.0, "back view", "back view"),
        (270.0, "side view", "right side view"),
        (-30.0, "front view", "front right view"),
        (359.9, "front view", "front view"),
        (720.0 + 180.0, "back view", "back view"),
    ],
)
def test_words_follow_the_azimuth(azimuth, four, eight):
    assert view_words(azimuth, 0.0, "four") == four
    assert view_words(azimuth, 0.0, "eight") == eight


def test_high_cameras():
    assert view_words(0.0, 70.0, "four") == "overhead view"
    assert view_words(90.0, 40.0, "eight") == "left side view from above"
    assert view_words(0.0, 40.0, "four") == "front view"


def test_every_phrase_is_listed():
    seen = {
        view_words(azimuth, elevation, vocabulary)
        for azimuth in range(0, 360, 5)
        for elevation in (-10, 0, 40, 80)
        for vocabulary in ("four", "eight")
    }
    assert seen == set(all_view_words())


def test_sentences_follow_the_camera_and_end_the_prompt():
    told = {view_words(azimuth, elevation, "sentences") for azimuth in range(0, 360, 5) for elevation in (0, 80)}
    assert len(told) == 4
    assert all(view_words(azimuth, 0.0) in view_words(azimuth, 0.0, "sentences") for azimuth in (0, 90, 180))
    for words in told:
        assert with_view("A red mug.", words) == f"A red mug. {words}"
        assert without_view(with_view("a red mug", words)) == ("a red mug", words)
        assert len(words) <= len(longest_view("sentences"))
