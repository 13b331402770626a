"""The bytes of small SentencePiece models, as text encoders' files hold them."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from sdi_engine.diffusion.sentencepiece_model import CONTROL

NORMAL = 1


def sentencepiece_bytes(pieces: Iterable[tuple[str, float]], kind: int, control: tuple[str, ...] = ()) -> bytes:
    """A model of these words with their scores, and with what real ones have besides.

    Args:
        control: the words that stand for no text.
    """
    words = b"".join(
        _field(1, _field(1, word.encode()) + b"\x15" + struct.pack("<f", score) + _field(3, _kind(word, control)))
        for word, score in pieces
    )
    trainer = _field(1, b"corpus.txt") + _field(3, kind) + b"\x55" + struct.pack("<f", 0.9995) + _field(40, 300)
    return words + _field(2, trainer) + _field(3, _field(1, b"identity"))


def _kind(word: str, control: tuple[str, ...]) -> int:
    return CONTROL if word in control else NORMAL


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    low = number & 127
    return bytes([low]) if number < 128 else bytes([low | 128]) + _varint(number >> 7)
