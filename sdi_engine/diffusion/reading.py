"""How a prompt is read by text encoders of limited length: in pieces, with weights, and with its view words whole.

CLIP reads 75 tokens. Longer prompts are read in pieces of that length whose embeddings stand side by side, as artists'
tools do; a model that cannot take that reads the prompt's beginning. View words stand last, and are never cut: without
them front, side and back would be the same request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInputError
from .prompt_weights import Fragment, parse
from .views import in_few_words, joined, without_view

MAX_WEIGHT = 10.0
"""The embeddings of a word that weighs more are far from all that a model has ever seen."""

Count = Callable[[str], int]
"""The number of tokens of a text, without those for start and end."""

_SPACED_WORD = re.compile(r"\s*\S+\s*$|\s*\S+")


@dataclass(frozen=True)
class Reading:
    """How one prompt is read.

    Attributes:
        pieces: fragments for each pass through the text encoders; the view words stand whole in the last one.
        short: as much as one pass holds, with the view words, without weights.
        unread: the end of the prompt, before the view words, for which there is no room; "" where all of it is read.
    """

    pieces: tuple[tuple[Fragment, ...], ...]
    short: str
    unread: str = ""

    @property
    def is_plain(self) -> bool:
        """Nothing but `short` is read."""
        return len(self.pieces) == 1 and all(fragment.weight == 1.0 for fragment in self.pieces[0])


def read(prompt: str, count: Count, room: int, in_pieces: bool) -> Reading:
    """Plan how a prompt is read; view words at its end (`views.with_view`) are told from the rest.

    Args:
        prompt: with weights (`prompt_weights`).
        count: of the tokenizer.
        room: tokens that one piece holds.
        in_pieces: whether there may be several.

    Raises:
        BadInputError: a weight is below 0 or above `MAX_WEIGHT`.
    """
    text, view = without_view(prompt)
    fragments = parse(text)
    for fragment in fragments:
        if not 0.0 <= fragment.weight <= MAX_WEIGHT:
            raise BadInputError(
                f'The weight of "{fragment.text.strip()}" in the prompt is {fragment.weight:g}: it must be between 0 '
                f"and {MAX_WEIGHT:g}, as in (word:1.3); write an ordinary bracket with a backslash before it."
            )
    tail = joined(view)
    if count(tail) >= room:
        view = in_few_words(view)
        tail = joined(view)
    whole = "".join(fragment.text for fragment in fragments) + tail
    if count(whole) <= room:
        return Reading((_of_one_weight([*fragments, Fragment(tail)]),), whole)
    before_tail = room - count(tail)
    parts = [part for fragment in fragments for part in _parts(fragment, count, before_tail)]
    beginning, rest = _split(parts, count, before_tail)
    while beginning and count(_before(beginning) + tail) > room:  # beside the tail, signs come to other tokens
        rest.insert(0, beginning.pop())
    short = _before(beginning) + tail
    if not in_pieces:
        pieces = [[*_without_end(beginning), Fragment(tail)]]
        return Reading((_of_one_weight(pieces[0]),), short, "".join(fragment.text for fragment in rest).strip(" ,"))
    pieces = []
    while parts:
        piece, parts = _split(parts, count, room)
        pieces.append(piece)
    last = [fragment.text for fragment in pieces[-1]]
    if max(sum(map(count, last)) + count(tail), count("".join(last) + tail)) <= room:
        pieces[-1].append(Fragment(tail))
    else:
        pieces.append([Fragment(view)])
    return Reading(tuple(map(_of_one_weight, pieces)), short)


class WeighingEncoder:
    """A text encoder that is given fragments with weights, by compel.

    What weighs more is taken further from the empty prompt's embedding, what weighs less is mixed with the prompt
    without it (https://github.com/damian0815/compel).
    """

    def __init__(self, tokenizer: Any, text_encoder: Any, penultimate: bool, length: int) -> None:
        """
        Args:
            tokenizer: of the text encoder.
            text_encoder: CLIP or T5.
            penultimate: whether the model is told of the layer before the last one.
            length: tokens of a piece, with those for start and end.
        """
        from compel import Compel, ReturnedEmbeddingsType

        self._compel = Compel(
            tokenizer,
            text_encoder,
            returned_embeddings_type=ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
            if penultimate
            else ReturnedEmbeddingsType.LAST_HIDDEN_STATES_NORMALIZED,
            model_max_length=length,
        )

    @torch.no_grad()
    def __call__(self, piece: Iterable[Fragment]) -> Tensor:
        """(1, length, width) embeddings of a piece, which must not be longer."""
        from compel.prompt_parser import FlattenedPrompt

        fragments = [(fragment.text, fragment.weight) for fragment in piece]
        (embedding, _), _ = self._compel.build_conditioning_tensor_for_prompt_object(FlattenedPrompt(fragments))
        return embedding


def counter(tokenizer: Any) -> Count:
    """Counts tokens as a tokenizer makes them."""

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)

    return count


def _before(parts: Iterable[Fragment]) -> str:
    """The text of a prompt's beginning, to which a view's words are joined."""
    return "".join(part.text for part in parts).rstrip(" ,")


def _parts(fragment: Fragment, count: Count, room: int) -> list[Fragment]:
    """A fragment word by word, and of words that alone are too long, their halves."""
    parts: list[Fragment] = []
    words = _SPACED_WORD.findall(fragment.text)[::-1]
    while words:
        word = words.pop()
        if len(word) > 1 and count(word) > room:
            words += [word[len(word) // 2 :], word[: len(word) // 2]]
        else:
            parts.append(Fragment(word, fragment.weight))
    return parts


def _split(parts: list[Fragment], count: Count, room: int) -> tuple[list[Fragment], list[Fragment]]:
    """The first parts, as many as there is room for, but one at least; and the rest."""
    for index, part in enumerate(parts):
        room -= count(part.text)
        if room < 0:
            return parts[: max(index, 1)], parts[max(index, 1) :]
    return parts, []


def _without_end(parts: list[Fragment]) -> list[Fragment]:
    """Without a comma or a space at the end."""
    kept = list(parts)
    while kept and not kept[-1].text.rstrip(" ,"):
        kept.pop()
    return [*kept[:-1], Fragment(kept[-1].text.rstrip(" ,"), kept[-1].weight)] if kept else []


def _of_one_weight(parts: Iterable[Fragment]) -> tuple[Fragment, ...]:
    """Neighbours of one weight as one fragment; without blank ones, of which no token is made."""
    joined: list[Fragment] = []
    for part in parts:
        if joined and joined[-1].weight == part.weight:
            joined[-1] = Fragment(joined[-1].text + part.text, part.weight)
        elif part.text.strip():
            joined.append(part)
    return tuple(joined)
