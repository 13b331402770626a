"""Paths as people paste them. Standard library only."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("„", "“"), ("‘", "’"), ("«", "»"))


def as_meant(text: str) -> str:
    """The path or name that is meant by a text from a field, a command line or the clipboard.

    White space and invisible marks around it go (Windows' file properties put one before every path), then one pair of
    quotes (Windows' "Copy as path" has them), `file://` (file managers of Linux), and `~` becomes the person's folder.
    Whatever else is there stays as it is. Touches no disk.
    """
    text = _trimmed(text)
    for opening, closing in _QUOTES:
        if len(text) > 1 and text.startswith(opening) and text.endswith(closing):
            text = _trimmed(text[1:-1])
            break
    if text[:7].lower() == "file://":
        text = _path_of(text)
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # there is no such person
        return text


def as_meant_here(text: str) -> str:
    """`as_meant` of what a person typed on a command line: what is in the folder that they are in gets its whole path.

    Everything else, such as a hub id, stays. For whoever works in the same folder; an engine does not.
    """
    path = as_meant(text)
    try:
        return str(Path(path).absolute()) if path and Path(path).exists() else path
    except (OSError, ValueError):  # longer than a path can be, or with characters that no path has
        return path


def _trimmed(text: str) -> str:
    kept = [index for index, character in enumerate(text) if not _is_blank(character)]
    return text[kept[0] : kept[-1] + 1] if kept else ""


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cf"  # such as U+202A, or a byte order mark


def _path_of(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:  # such as brackets that are no IPv6 address
        return address
    host = "" if parts.netloc.lower() == "localhost" else parts.netloc
    # A file's name may have what separates the parts of an address, where the program that copied it was careless.
    rest = "".join(mark + part for mark, part in (("?", parts.query), ("#", parts.fragment)) if part)
    if host and os.name != "nt":  # another computer's folder: only Windows has paths for these
        return address
    return url2pathname(f"//{host}{parts.path}{rest}" if host else f"{parts.path}{rest}")
