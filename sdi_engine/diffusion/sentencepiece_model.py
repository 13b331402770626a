"""What is in a SentencePiece model, which some text encoders' files hold as their tokenizer.

Transformers reads such a file by way of two more packages. Here it is read as what it is, a protocol buffer
(https://protobuf.dev/programming-guides/encoding; its fields are in SentencePiece's `sentencepiece_model.proto`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

UNIGRAM, BPE = 1, 2
"""Kinds of models (`TrainerSpec.model_type`)."""

CONTROL, USER_DEFINED = 3, 4
"""Kinds of pieces: those that stand for no text, and those that are never split."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""How a field's value is encoded."""


@dataclass(frozen=True)
class Piece:
    """A word, or a part of one.

    Attributes:
        text: with "▁" for a space.
        score: its log probability, or the order in which it is merged.
        kind: 1 of most; `CONTROL`, `USER_DEFINED` and others.
    """

    text: str
    score: float
    kind: int


@dataclass
class SentencePieceModel:
    """Attributes:
    pieces: by their number in the vocabulary.
    kind: `UNIGRAM` or `BPE`, or one of those that no text encoder has.
    normalisation: the characters that are read as others, in SentencePiece's own form; empty without any.
    """

    pieces: list[Piece] = field(default_factory=list)
    kind: int = UNIGRAM
    normalisation: bytes = b""


def read_model(data: bytes) -> SentencePieceModel:
    """Raises ValueError where the bytes are no SentencePiece model."""
    model = SentencePieceModel()
    for number, value in _fields(data):
        if number == 1:
            model.pieces.append(_piece(_as_bytes(value)))
        elif number == 2:
            model.kind = next((kind for name, kind in _fields(_as_bytes(value)) if name == 3), UNIGRAM)  # type: ignore
        elif number == 3:
            model.normalisation = next(
                (_as_bytes(table) for name, table in _fields(_as_bytes(value)) if name == 2), b""
            )
    if not model.pieces:
        raise ValueError("it has no words")
    return model


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    score = _as_bytes(fields.get(2, bytes(4)))
    kind = fields.get(3, 1)
    if len(score) != 4 or not isinstance(kind, int):
        raise ValueError("a damaged word")
    return Piece(_as_bytes(fields.get(1, b"")).decode("utf-8"), *struct.unpack("<f", score), kind)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: their numbers and values, of which numbers and strings are not told apart further."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        encoding = key & 7
        if encoding == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if encoding == _BYTES:
            length, at = _varint(data, at)
        elif encoding in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if encoding == _EIGHT_BYTES else 4
        else:
            raise ValueError("an unknown encoding")
        if at + length > len(data):
            raise ValueError("it is truncated")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    number = 0
    for place in range(10):
        if at >= len(data):
            raise ValueError("it is truncated")
        byte = data[at]
        number, at = number | (byte & 127) << 7 * place, at + 1
        if byte < 128:
            return number, at
    raise ValueError("an endless number")


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where there should be text")
    return value
