"""The treatment of words that are not in a model's small vocabulary."""

from __future__ import annotations

import json

import pytest

from sdi_engine.contract import vocabulary
from sdi_engine.diffusion.location import STARTER_FOLDER
from sdi_engine.errors import BadInputError

KNOWS = {"things": ["mug", "table"], "colours": ["red"], "pairs": ["mug on table"]}


def test_words_are_found_regardless_of_case_and_commas():
    assert vocabulary.unknown_words("A Red mug, on a shiny SHINY zebra", KNOWS) == ["shiny", "zebra"]
    assert vocabulary.unknown_words("a red mug on a table", KNOWS) == []


def test_a_model_without_a_vocabulary_knows_all_words():
    assert vocabulary.unknown_words("an iguana holding a balloon", {}) == []
    assert vocabulary.warning("an iguana holding a balloon", {}) == ""


def test_the_warning_names_the_words_what_is_known_and_the_cure():
    sentence = vocabulary.warning("a red zebra", KNOWS)
    assert '"zebra"' in sentence
    assert "A real model knows more words." in sentence
    assert sentence.endswith("things: mug, table; colours: red; pairs: mug on table.")
    assert sentence.startswith(vocabulary.about_unknown_words("a red zebra", KNOWS))
    assert vocabulary.warning("a red mug", KNOWS) == ""


def test_the_starter_priors_own_words_are_known():
    knows = json.loads((STARTER_FOLDER / "sdi_engine.json").read_text(encoding="utf-8"))["knows"]
    thing, colour = knows["things"][0], knows["colours"][0]
    assert vocabulary.warning(f"a {colour} {thing}", knows) == ""
    assert vocabulary.warning(f"a {colour} zebra", knows) != ""


STARTER = json.loads((STARTER_FOLDER / "sdi_engine.json").read_text(encoding="utf-8"))["knows"]


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("a red mug.", "a red mug"),
        ("(red mug", "red mug"),
        ('a "red" mug', "a red mug"),
        ("a red-mug", "a red mug"),
        ("a red_mug!", "a red mug"),
        ("a gray mug", "a grey mug"),
        ("red mugs", "red mug"),
        ("cacti", "cactus"),
        ("snowmen", "snowman"),
        ("RED Mug", "red mug"),
        ("a red, dotted mug", "a red, dotted mug"),
        ("a\xa0red\u200b mug", "a red mug"),
        ("a mug\u2019s table", "a mug table"),
        ("a (red:1.3) [mug] :)", "a red mug"),
        (r"a \(red\) mug", "a red mug"),
        ("a red mug, back left view from above", "a red mug, back left view from above"),
    ],
)
def test_known_words_however_they_are_written(prompt, read):
    assert vocabulary.unknown_words(prompt, STARTER) == []
    assert vocabulary.as_read(prompt, STARTER) == read
    vocabulary.check(prompt, STARTER)


@pytest.mark.parametrize(
    ("prompt", "unknown", "read"),
    [
        ("a shiny zebra on a table", ["shiny", "zebra"], "a table"),
        ("a photo of a red mug", ["photo", "of"], "a red mug"),
        ("a red mug on a zebra.", ["zebra"], "a red mug"),
        ("a zebra, a red mug", ["zebra"], "a red mug"),
        ("mugshots", ["mugshots"], ""),
        ("", [], ""),
    ],
)
def test_unknown_words_are_left_out_with_their_articles(prompt, unknown, read):
    assert vocabulary.unknown_words(prompt, STARTER) == unknown
    assert vocabulary.as_read(prompt, STARTER) == read


@pytest.mark.parametrize("prompt", ["a dragon", "an iguana holding a balloon", "a, on", "front view", "(dragon:1.3)"])
def test_a_prompt_without_a_known_word_is_refused(prompt):
    with pytest.raises(BadInputError, match="does not know any word of") as caught:
        vocabulary.check(prompt, STARTER)
    assert "choose a real model, or one of the things that this one knows: airplane, bed" in str(caught.value)
    vocabulary.check(prompt, {})


@pytest.mark.parametrize("knows", [None, [], "mug", {"things": "mug"}, {"things": [1, None, " "]}, {"things": {}}])
def test_a_file_without_words_gives_no_vocabulary(knows):
    assert vocabulary.sound(knows) == {}


def test_only_words_are_taken_from_a_file():
    assert vocabulary.sound({"things": ["mug", 7], "colours": 1}) == {"things": ["mug"]}
    assert vocabulary.sound(STARTER) == STARTER
