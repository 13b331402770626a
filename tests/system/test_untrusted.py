"""Names, numbers and text from outside."""

import io
import json
import logging
import random

import pytest

from sdi_engine.system.untrusted import is_plain_name, parse_json, printable, printable_record

ESCAPE = "\x1b]0;owned\x07"
JOINED = "\U0001f469\u200d\U0001f680 \u0646\u0645\u06cc\u200c\u0634 é ß"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a red mug", "a red mug"),
        (ESCAPE, r"\x1b]0;owned\x07"),
        ("one\nERROR two\r\t", r"one\nERROR two\r\t"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("a\u202egum\u202c\u2066\u200f", r"a\u202egum\u202c\u2066\u200f"),
        ("a\u2028b\u2029c\x85", r"a\u2028b\u2029c\x85"),
        ("half \udcff", r"half \udcff"),
        (JOINED, JOINED),
    ],
)
def test_control_characters_are_shown_instead_of_obeyed(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.fixture
def logger():
    """A logger with our filter, and its output."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(printable_record)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, written


def test_a_name_cannot_begin_a_line_of_the_log(logger):
    logger, written = logger
    logger.warning('the job "%s" 100%%', f"mug\nERROR forged {ESCAPE}")
    assert written.getvalue() == 'the job "mug\\nERROR forged \\x1b]0;owned\\x07" 100%\n'


def test_a_traceback_keeps_its_lines_and_nothing_else(logger):
    logger, written = logger
    try:
        raise ValueError(ESCAPE)
    except ValueError:
        logger.exception("it failed")
    lines = written.getvalue().splitlines()
    assert lines[0] == "it failed"
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"ValueError: \x1b]0;owned\x07"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "NaN",
            "[Infinity]",
            '{"a": -Infinity}',
            "1e400",
            "[-1e999]",
            "1" * 400,
            "-" + "9" * 30,
            "9223372036854775808",
        ),
        *("[" * 100_000, '{"a":' * 100_000, "[" * 40 + "]" * 40, '"\\ud800"', '{"\\udfff": 1}', "", "{", "1" * 10_000),
    ],
    ids=lambda text: text[:12],
)
def test_huge_numbers_and_deep_nesting_are_not_json(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_everything_of_ours_is_json():
    value = {"a": [1, -2.5, None, True, "é \U0001f600"], "b": {"c": {}}, "d": 2**63 - 1}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False)) == value


def test_any_text_gives_a_value_or_a_value_error():
    lot = random.Random(5)
    pieces = ['{"a":', "[", "]", "}", '"', "\\u", "d800", "1e", "9" * 50, "NaN", "null", ",", ":", "\x00", "é"]
    for _ in range(2000):
        text = "".join(lot.choice(pieces) for _ in range(lot.randrange(12)))
        try:
            parse_json(text)
        except ValueError:
            continue


@pytest.mark.parametrize("name", ["preview.png", "side-0.png", "赤い.png", "a b", ".hidden", "x" * 255])
def test_plain_names(name):
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "...", " ", "a/b", "a\\b", "/etc/passwd", "\\\\server\\share", "C:a.png", "a:stream", "a\x00"),
        *("a\nb", "*.png", "x" * 256, "\udcff", "../preview.png", "a\x1b"),
    ],
)
def test_names_that_lead_elsewhere(name):
    assert not is_plain_name(name)
