"""Tokenizers from folders of their own, for text encoders whose weights lie elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import BadInputError
from .families import Component


def tokenizer_in(folder: Path, part: Component, kind: Sequence[str], encoder: nn.Module) -> Any:
    """The tokenizer in a folder.

    Args:
        folder: with its files.
        part: the text encoder that it is for.
        kind: its library and class.
        encoder: the same, to see that it knows all words.

    Raises:
        BadInputError: it cannot be read, or is for another text encoder.
    """
    library, name = kind
    try:
        tokenizer = getattr(importlib.import_module(library), name).from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # there is no telling what the library raises for damaged files
        detail = " ".join(str(error).split())[:200]
        raise BadInputError(
            f'The tokenizer in "{folder}" cannot be loaded ({detail}): download its files again ({part.page} on the '
            "Hugging Face hub)."
        ) from error
    words = len(encoder.get_input_embeddings().weight)
    if len(tokenizer) > words:
        raise BadInputError(
            f'The tokenizer in "{folder}" knows {len(tokenizer):,} words and the text encoder {words:,}: they do not '
            f"belong together; take {part.page} on the Hugging Face hub."
        )
    return tokenizer
