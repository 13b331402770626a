"""The words of the starter world: training captions, and a tokenizer whose vocabulary holds just those words.

The tokenizer is an ordinary `CLIPTokenizer`; its byte-pair merges are learned from the word list until every word is
one token. A word that the world does not have falls apart into pieces; the training treats every piece as the one
unknown word (`piece_start`), so a prompt with foreign words still works.
"""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from transformers import CLIPTokenizer

from ..diffusion.views import all_view_words, view_words, with_view
from . import world

MAX_LENGTH = 32
"""Tokens of a caption, with the start and end tokens; foreign words cost several each."""

START, END, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<|unknown|>"

_FOREIGN = (
    "cute",
    "shiny",
    "small",
    "big",
    "cartoon",
    "detailed",
    "simple",
    "toy",
    "plastic",
    "beautiful",
    "old",
    "tiny",
)
_FRAMES = ("a photo of {}", "a 3d render of {}", "a dslr photo of {}", "{}, 3d render", "{}, best quality")


def describe(thing: str, colour: str) -> str:
    """The plain caption: "a red mug", "an orange car"."""
    article = "an" if colour[0] in "aeiou" else "a"
    return f"{article} {colour} {thing}"


def training_caption(thing: str, colour: str, azimuth: float, elevation: float, rng: np.random.Generator) -> str:
    """A random caption of a picture: with or without article, foreign words and view; empty one time in ten.

    Args:
        thing: one of `world.things()`.
        colour: one of `world.COLOURS`.
        azimuth: of the camera, in degrees as in `view_words`.
        elevation: of the camera, in degrees.
        rng: decides.
    """
    dropped, article, foreign, view = rng.random(4)
    if dropped < 0.10:
        return ""
    text = describe(thing, colour)
    if article < 0.20:
        text = text.split(" ", 1)[1]
    if foreign < 0.03:
        text = text.replace(colour, f"{rng.choice(_FOREIGN)} {colour}")
    elif foreign < 0.06:
        text = str(rng.choice(_FRAMES)).format(text)
    if view < 0.10:
        return text
    return with_view(text, view_words(azimuth, elevation, "four" if view < 0.55 else "eight"))


def vocabulary() -> tuple[str, ...]:
    """Every word of the world's captions, and the comma."""
    words = ["a", "an", ",", *world.COLOURS, *world.things()]
    words += [word for phrase in all_view_words() for word in phrase.split()]
    return tuple(dict.fromkeys(words))


def build_tokenizer() -> CLIPTokenizer:
    """A `CLIPTokenizer` to which each word of `vocabulary()` is one token; ids: specials, words, then pieces."""
    words = vocabulary()
    merges, pieces = _learn_merges(words)
    whole = [f"{word}</w>" for word in words]
    tokens = [START, END, UNKNOWN, *whole, *sorted(pieces - set(whole))]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=MAX_LENGTH,
    )


def piece_start() -> int:
    """The first token id that is a piece of a word; this and all higher ids stand for the unknown word."""
    return 3 + len(vocabulary())


def _learn_merges(words: tuple[str, ...]) -> tuple[list[tuple[str, str]], set[str]]:
    """Byte-pair merges, most frequent pair first, until every word is whole; and all tokens met on the way."""
    splits = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    pieces = {piece for split in splits for piece in split}
    merges = []
    while pairs := Counter(pair for split in splits for pair in itertools.pairwise(split)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces.add("".join(best))
        splits = [_merge(split, best) for split in splits]
    return merges, pieces


def _merge(split: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in split:
        # A piece that has just been merged cannot merge again: `pair` cannot start with its own sum.
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
