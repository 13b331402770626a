"""What is said of words that a model of a small vocabulary does not know."""

from __future__ import annotations

import json

from sdi_engine import vocabulary
from sdi_engine.diffusion.location import STARTER_FOLDER

KNOWS = {"things": ["mug", "table"], "colours": ["red"], "pairs": ["mug on table"]}


def test_words_are_found_whatever_their_case_and_commas():
    assert vocabulary.unknown_words("A Red mug, on a shiny SHINY zebra", KNOWS) == ["shiny", "zebra"]
    assert vocabulary.unknown_words("a red mug on a table", KNOWS) == []


def test_a_model_that_knows_everything_leaves_nothing_out():
    assert vocabulary.unknown_words("an iguana holding a balloon", {}) == []
    assert vocabulary.warning("an iguana holding a balloon", {}) == ""


def test_the_warning_names_the_words_what_is_known_and_the_cure():
    sentence = vocabulary.warning("a red zebra", KNOWS)
    assert '"zebra"' in sentence
    assert "A real model knows the rest." in sentence
    assert sentence.endswith("things: mug, table; colours: red; pairs: mug on table.")
    assert sentence.startswith(vocabulary.left_out("a red zebra", KNOWS))
    assert vocabulary.warning("a red mug", KNOWS) == ""


def test_the_starter_priors_own_words_are_known():
    knows = json.loads((STARTER_FOLDER / "sdi_engine.json").read_text(encoding="utf-8"))["knows"]
    thing, colour = knows["things"][0], knows["colours"][0]
    assert vocabulary.warning(f"a {colour} {thing}", knows) == ""
    assert vocabulary.warning(f"a {colour} zebra", knows) != ""
