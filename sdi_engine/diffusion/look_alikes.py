"""Models with the tensors of a text-to-image model that are for something else: only what they are called tells them.

Standard library only.
"""

from __future__ import annotations

import re
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
    path = Path(model)
    titles = read_titles(path) if path.is_absolute() and is_safetensors(path) and path.is_file() else []
    for where, text in (("name", last_part(model)), *(("metadata", title) for title in titles)):
        for variant in family.look_alikes:
            found = re.search(variant.pattern, text, re.IGNORECASE)
            if found:
                return LookAlike(
                    variant.kind,
                    f'By its {where}, "{found[0]}", this model {variant.what}, although its tensors are those of '
                    f"{family.label} for text to image: objects may come out poorly. Choose {family.base} instead.",
                )
    return None
