"""Names, numbers and text that somebody else may have written. Standard library only."""

from __future__ import annotations

import errno
import json
import logging
import math
import re
import unicodedata
from pathlib import Path
from typing import Any

MAX_INTEGER = 2**63 - 1
"""Limit of a JSON number: above every count of ours, and within the range of a float."""

MAX_DEPTH = 32
"""Limit for JSON's lists and objects within each other."""

MAX_SHOWN = 80
"""Characters of a wrong value that a sentence quotes."""

MAX_LIST_BYTES = 16 * 2**20
"""Limit of a list's file: hundreds of thousands of prompts."""

_DIRECTION_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
_NO_PLAIN_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\ud800-\udfff]')


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or one that no writer of ours makes: with NaN or infinity, a number beyond 64 bits,
            nesting without end, or halves of characters.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    _check_depth_and_text(value)
    return value


def read_list(file: Path) -> list[str]:
    """`lines_of_list` of a file, or a pipe, of at most `MAX_LIST_BYTES`.

    Raises:
        OSError: it cannot be read, or is larger.
        ValueError: it is not UTF-8 text.
    """
    with file.open("rb") as opened:
        content = opened.read(MAX_LIST_BYTES + 1)
    if len(content) > MAX_LIST_BYTES:
        raise OSError(errno.EFBIG, "too large for a list", str(file))
    return lines_of_list(content)


def lines_of_list(content: bytes) -> list[str]:
    """The lines of a list in UTF-8 without the spaces around them; no blank ones, and no comments, which begin with #.

    Raises:
        ValueError: it is not UTF-8 text.
    """
    text = content.decode("utf-8-sig")
    if "\0" in text:  # UTF-16 without its mark, or no text at all
        raise ValueError("holds zero bytes")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def is_plain_name(name: str) -> bool:
    """Whether it is the name of a file or folder, and no path to another folder, on every system."""
    return 0 < len(name) <= 255 and name.strip(". ") != "" and not _NO_PLAIN_NAME.search(name)


def is_control(character: str) -> bool:
    """Whether a character moves a terminal's cursor, ends a line, or is half of one."""
    return unicodedata.category(character) in _CONTROLS


def is_direction_mark(character: str) -> bool:
    """Whether a character changes the direction of writing, so that a reader sees other words.

    The joiners that scripts and emoji need are not among them.
    """
    return character in _DIRECTION_MARKS


def printable(text: str) -> str:
    """The text on one line, such that a terminal shows what it is and does nothing else.

    Control characters and direction marks are written as Python writes them, such as \\x1b.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(each) if is_control(each) or is_direction_mark(each) else each for each in text)


def shown(value: Any) -> str:
    """A value as a sentence quotes it."""
    text = f'"{printable(value)}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def printable_record(record: logging.LogRecord) -> bool:
    """A filter for a log's handler: no name or prompt begins a line of its own, or controls the terminal.

    It changes the record, so that later handlers get the same text. A traceback keeps its lines.
    """
    record.msg, record.args = printable(record.getMessage()), None
    if record.exc_info and not record.exc_text:
        trace = logging.Formatter().formatException(record.exc_info)
        record.exc_text = "\n".join(map(printable, trace.split("\n")))
    return True


def _check_depth_and_text(value: Any) -> None:
    left = [(value, 0)]
    while left:
        item, depth = left.pop()
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        if isinstance(item, str):
            item.encode("utf-8")  # which half of a surrogate pair cannot be, and no file can hold
        elif isinstance(item, list):
            left += [(each, depth + 1) for each in item]
        elif isinstance(item, dict):
            left += [(each, depth + 1) for pair in item.items() for each in pair]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _bounded(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"the number {text[:20]} is too large")
    return int(text)
