"""Tokenizers from folders of their own, for text encoders whose weights lie elsewhere, and from the files of those."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from ..errors import BadInputError
from .families import Component
from .parts import TOKENIZER_TENSOR
from .sentencepiece_model import BPE, CONTROL, UNIGRAM, USER_DEFINED, read_model


def tokenizer_in(path: Path, part: Component, kind: Sequence[str], encoder: nn.Module) -> Any:
    """The tokenizer in a folder, or in the file of a text encoder (`parts.TOKENIZER_TENSOR`).

    Args:
        path: the folder or the file.
        part: the text encoder that it is for.
        kind: its library and class.
        encoder: the same, to see that it knows all words.

    Raises:
        BadInputError: it cannot be read, or is for another text encoder.
    """
    try:
        tokenizer = tokenizer_of_model(path.parent, path.name, kind) if path.is_dir() else _in_file(path)
    except Exception as error:  # there is no telling what the library raises for damaged files
        detail = " ".join(str(error).split())[:200]
        raise BadInputError(
            f'The tokenizer in "{path}" cannot be loaded ({detail}): it is damaged, or for another text encoder; '
            f"download its files again ({part.page} on the Hugging Face hub)."
        ) from error
    words = len(encoder.get_input_embeddings().weight)
    if len(tokenizer) > words:
        raise BadInputError(
            f'The tokenizer in "{path}" knows {len(tokenizer):,} words and the text encoder {words:,}: they do not '
            f"belong together; take {part.page} on the Hugging Face hub."
        )
    return tokenizer


def tokenizer_of_model(folder: Path, part: str, kind: Sequence[str]) -> Any:
    """The tokenizer in the folder of a part of a model; `kind` is its library and class."""
    library, name = kind
    return getattr(importlib.import_module(library), name).from_pretrained(str(folder / part), local_files_only=True)


def check_knows_words(folder: Path, tokenizers: Mapping[str, Any]) -> None:
    """Refuse tokenizers for which every text is the same, as they are read from empty files.

    Args:
        folder: of the model.
        tokenizers: by their parts; None for one that it does without.

    Raises:
        BadInputError: one knows no words.
    """
    for part, tokenizer in tokenizers.items():
        if tokenizer is not None and len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
            raise BadInputError(
                f'The tokenizer in "{folder / part}" knows no words: its files are damaged; download the model again.'
            )


def _in_file(file: Path) -> Any:
    """T5's or Gemma's: SentencePiece models of two kinds."""
    from transformers import AddedToken, GemmaTokenizer, T5Tokenizer
    from transformers.tokenization_utils_base import generate_merges

    with safe_open(file, framework="np") as stream:
        name = next(name for name in stream.keys() if name.rpartition(".")[2] == TOKENIZER_TENSOR)  # noqa: SIM118
        model = read_model(stream.get_tensor(name).tobytes())
    apart = [
        AddedToken(piece.text, normalized=False, special=piece.kind == CONTROL)
        for piece in model.pieces
        if piece.kind in (CONTROL, USER_DEFINED)
    ]
    if model.kind == UNIGRAM:
        scores = [(piece.text, piece.score) for piece in model.pieces]
        table = model.normalisation or None
        return T5Tokenizer(scores, extra_ids=0, additional_special_tokens=apart, _spm_precompiled_charsmap=table)
    if model.kind == BPE:
        words = {piece.text: number for number, piece in enumerate(model.pieces)}
        merges = generate_merges(words)
        return GemmaTokenizer(words, merges, add_bos_token=True, additional_special_tokens=apart)
    raise ValueError("a SentencePiece model of another kind")
