"""The words of the starter world: training captions, and a tokenizer whose vocabulary is just those words.

The tokenizer is an ordinary `CLIPTokenizer`; its byte-pair merges are learned from the word list until every word is
one token. It splits any other word into pieces; the training treats every piece as the same unknown word
(`piece_start`), so a prompt with foreign words still works.
"""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from ..diffusion.views import all_view_words, view_words, with_view
from . import world
from .paint import COLOURS, PATTERNS
from .world import Item, Subject

MAX_LENGTH = 32
"""Tokens per caption, including start and end; a foreign word takes several."""

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


CLAY = "clay"
"""The captions' word for pictures of the bare shape, white and shaded: "a clay mug"."""


def describe(subject: Subject) -> str:
    """The plain caption: "a red mug", "a dotted orange car", "a blue bird on a green cactus"."""
    return " on ".join(_with_article(_name(item)) for item in subject.items)


def parse(prompt: str) -> Subject:
    """The subject of a plain caption; adjectives may come in any order, and articles may be missing.

    Raises:
        ValueError: an unknown word, not exactly one colour, more than one pattern, or a pair that is not in `PAIRS`.
    """
    return Subject(*(_parse_item(part) for part in prompt.split(" on ")))


def training_caption(
    subject: Subject, azimuth: float, elevation: float, textureless: bool, rng: np.random.Generator
) -> str:
    """A random caption of a picture: with or without article, colour, foreign words and view; empty one time in ten.

    Args:
        subject: what is shown.
        azimuth: of the camera, in degrees as in `view_words`.
        elevation: of the camera, in degrees.
        textureless: whether the picture shows the bare shape; its caption then says "clay" instead of a colour.
        rng: makes the random choices.
    """
    dropped, colourless, article, foreign, order, view = rng.random(6)
    if dropped < 0.10:
        return ""
    if textureless:
        names = [f"{CLAY} {item.kind}" for item in subject.items]
    elif colourless < 0.06:
        names = [item.kind for item in subject.items]
    else:
        names = [_name(item, colour_first=order < 0.3) for item in subject.items]
    if foreign < 0.03:
        names[0] = f"{rng.choice(_FOREIGN)} {names[0]}"
    text = " on ".join(names if article < 0.15 else [_with_article(name) for name in names])
    if 0.03 <= foreign < 0.06:
        text = str(rng.choice(_FRAMES)).format(text)
    if view < 0.10:
        return text
    return with_view(text, view_words(azimuth, elevation, "four" if view < 0.35 else "eight"))


def _name(item: Item, colour_first: bool = False) -> str:
    if item.pattern == "plain":
        return f"{item.colour} {item.kind}"
    words = (item.colour, item.pattern) if colour_first else (item.pattern, item.colour)
    return " ".join((*words, item.kind))


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _parse_item(text: str) -> Item:
    words = [word for word in text.split() if word not in ("a", "an")]
    if not words:
        raise ValueError(f"{text!r} names no thing of the starter world")
    kind, adjectives = words[-1], words[:-1]
    colours = [word for word in adjectives if word in COLOURS]
    patterns = [word for word in adjectives if word in PATTERNS]
    foreign = [word for word in adjectives if word not in (*COLOURS, *PATTERNS)]
    if foreign:
        raise ValueError(f"the starter world does not have the word {foreign[0]!r}")
    if len(colours) != 1 or len(patterns) > 1:
        raise ValueError(f"{text!r} must name one colour, and one pattern at most")
    return Item(kind, colours[0], *patterns)


def vocabulary() -> tuple[str, ...]:
    """Every word of the world's captions, and the comma."""
    words = ["a", "an", "on", ",", CLAY, *COLOURS, *PATTERNS[1:], *world.things()]
    words += [word for phrase in all_view_words() for word in phrase.split()]
    return tuple(dict.fromkeys(words))


def build_tokenizer() -> CLIPTokenizer:
    """A `CLIPTokenizer` with one token for each word of `vocabulary()`; ids: special tokens, words, then pieces."""
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


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token ids (B, MAX_LENGTH) int64 of B texts; every piece of a foreign word has the unknown word's id."""
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return torch.where(tokens >= piece_start(), tokenizer.unk_token_id, tokens)


def piece_start() -> int:
    """The lowest id of a token that is only a piece of a word; it and all higher ids mean the unknown word."""
    return 3 + len(vocabulary())


def _learn_merges(words: tuple[str, ...]) -> tuple[list[tuple[str, str]], set[str]]:
    """Byte-pair merges, most frequent pair first, until every word is one token; and all tokens on the way there."""
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
        # A piece that was just merged is longer than either half of `pair`, so it cannot merge again.
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
