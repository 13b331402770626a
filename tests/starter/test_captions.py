"""Captions: what they say, how often, and how prompts are read back."""

from __future__ import annotations

import numpy as np
import pytest

from sdi_engine.starter import captions, paint, world
from sdi_engine.starter.world import Item, Subject

MUG = Subject(Item("mug", "orange"))


def shares(subject: Subject, textureless: bool = False) -> list[str]:
    rng = np.random.default_rng(0)
    return [captions.training_caption(subject, 90.0, 10.0, textureless, rng) for _ in range(4000)]


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (MUG, "an orange mug"),
        (Subject(Item("car", "red", "dotted")), "a dotted red car"),
        (Subject(Item("bird", "blue"), Item("cactus", "green", "striped")), "a blue bird on a striped green cactus"),
        (Subject(Item("table", paint.WOODEN)), "a wooden table"),
    ],
)
def test_descriptions_are_read_back(subject: Subject, text: str) -> None:
    assert captions.describe(subject) == text
    assert captions.parse(text) == subject


def test_words_come_in_any_order() -> None:
    assert captions.parse("red dotted car") == captions.parse("a dotted red car")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a red zebra", "zebra"),
        ("a shiny red mug", "shiny"),
        ("a mug", "one colour"),
        ("a red blue mug", "one colour"),
        ("", "no thing"),
        ("a red mug on ", "no thing"),
        ("a red table on a red mug", "mug on table"),
    ],
)
def test_an_unreadable_caption_names_the_reason(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        captions.parse(text)


def test_captions_have_the_intended_shares() -> None:
    texts = shares(MUG)
    found = {
        "": texts.count(""),
        "side": sum(", side view" in text for text in texts),
        "left": sum(", left side view" in text for text in texts),
        "article": sum(text.startswith("an orange mug") for text in texts),
        "no colour": sum("mug" in text and "orange" not in text for text in texts),
    }
    expected = {"": 0.10, "side": 0.225, "left": 0.585, "article": 0.9 * 0.94 * 0.85 * 0.95, "no colour": 0.054}
    for name, share in expected.items():
        assert found[name] / 4000 == pytest.approx(share, abs=0.03), name


def test_patterns_come_before_and_after_the_colour() -> None:
    texts = shares(Subject(Item("car", "red", "dotted")))
    before, after = (sum(words in text for text in texts) for words in ("dotted red", "red dotted"))
    assert after > 800
    assert before > 1.5 * after


def test_pictures_of_the_bare_shape_say_clay_and_no_colour() -> None:
    texts = [text for text in shares(Subject(Item("bird", "blue"), Item("cactus", "green")), textureless=True) if text]
    assert all("clay bird" in text and "clay cactus" in text for text in texts)
    assert not any(colour in text.split() for text in texts for colour in paint.COLOURS)


def test_no_word_has_two_meanings() -> None:
    words = [*world.things(), *paint.COLOURS, *paint.PATTERNS, captions.CLAY, "on", "a", "an"]
    assert len(set(words)) == len(words)
