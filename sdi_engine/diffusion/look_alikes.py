"""Models with the tensors of a text-to-image model that are for something else: only what they are called tells them.

Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .families import Family
from .header import read_titles
from .location import is_safetensors, last_part


@dataclass(frozen=True)
class LookAlike:
    """What a model seems to be.

    Attributes:
        kind: in a few words, for a menu.
        notice: the sentence for a person.
    """

    kind: str
    notice: str


def look_alike(model: str, family: Family) -> LookAlike | None:
    """What a model is besides one of its family, by its name, or by the titles in its file; None where nothing says so.

    Args:
        model: what a person calls it: a path or a hub id.
    """
    if not family.look_alikes:
        return None
    for where, text in _calls_itself(model):
        for variant in family.look_alikes:
            found = re.search(variant.pattern, text, re.IGNORECASE)
            if found:
                return LookAlike(
                    variant.kind,
                    f'By its {where}, "{found[0]}", this model {variant.what}, although its tensors are those of '
                    f"{family.label} for text to image: objects may come out poorly. Choose {family.base} instead.",
                )
    return None


def _calls_itself(model: str) -> Iterator[tuple[str, str]]:
    """What a model is called, and where; a file is opened only once its name was not enough."""
    yield "name", last_part(model)
    path = Path(model)
    if path.is_absolute() and is_safetensors(path) and path.is_file():
        for title in read_titles(path):
            yield "metadata", title
