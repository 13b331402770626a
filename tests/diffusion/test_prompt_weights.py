"""Weights in prompts, in the syntax that artists use."""

import pytest

from sdi_engine.diffusion.prompt_weights import Fragment, parse, plain


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("a red mug", [("a red mug", 1.0)]),
        ("a (red:1.3) mug", [("a ", 1.0), ("red", 1.3), (" mug", 1.0)]),
        ("((red)) mug", [("red", 1.21), (" mug", 1.0)]),
        ("[red] mug", [("red", 1 / 1.1), (" mug", 1.0)]),
        ("(a (red:1.3) mug)", [("a ", 1.1), ("red", 1.43), (" mug", 1.1)]),
        ("((a:2) b:1.5)", [("a", 3.0), (" b", 1.5)]),
        ("(a (b):1.3)", [("a ", 1.3), ("b", 1.43)]),
        ("(mug: .5 )", [("mug", 0.5)]),
        (r"a \(red\) mug", [("a (red) mug", 1.0)]),
        (r"(a \(red\) mug:2)", [("a (red) mug", 2.0)]),
        ("(1.5:1)", [("1.5", 1.0)]),
        ("", []),
    ],
)
def test_weights(prompt, fragments):
    read = parse(prompt)
    assert [fragment.text for fragment in read] == [text for text, _ in fragments]
    assert [fragment.weight for fragment in read] == pytest.approx([weight for _, weight in fragments])


@pytest.mark.parametrize(
    "prompt",
    [
        "a mug :)",
        "a mug :(",
        "(a red mug",
        "a red mug)",
        "[a red mug",
        "a) red (mug",
        "a:1.3 mug",
        "a ( red ] mug",
        "a\\b",
    ],
)
def test_text_that_is_no_weight_stays(prompt):
    assert parse(prompt) == [Fragment(prompt)]


@pytest.mark.parametrize("prompt", ["(mug:)", "(mug:1.2.3)", "(mug:heavy)"])
def test_an_invalid_number_is_text(prompt):
    assert parse(prompt) == [Fragment(prompt[1:-1], 1.1)]


def test_the_words_without_the_syntax():
    assert plain(r"a ((red:1.3) mug) [\[big\]]") == "a red mug [big]"


def test_unclosed_brackets():
    assert parse("(" * 1000) == [Fragment("(" * 1000)]
    assert parse("(" * 500 + "mug" + ")" * 500)[0].text == "mug"
