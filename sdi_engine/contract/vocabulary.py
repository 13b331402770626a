"""A model of a small vocabulary: what it reads of a prompt, and what a person is told whose prompt goes beyond it.

Standard library only. One reading serves both: the text that the model's tokenizer gets is made of the same words that
a person is told of.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ..diffusion.prompt_weights import plain
from ..diffusion.views import all_view_words
from ..errors import BadInputError

ARTICLES = ("a", "an")
GRAMMAR = (*ARTICLES, "on", *dict.fromkeys(word for phrase in all_view_words() for word in phrase.split()))
"""Words that hold the others together, and those that say from where it is seen."""

SPELLINGS = {"gray": "grey", "chequered": "checkered", "aeroplane": "airplane"}

_WORD_OR_COMMA = re.compile(r"[^\W_]+(?:'[^\W_]+)*|,")
_APOSTROPHES = dict.fromkeys(map(ord, "’‘ʼ`´"), "'")

Knows = Mapping[str, Sequence[str]]
"""A model's words or phrases by kind ("things", "colours"), from its `sdi_engine.json`; empty where it knows all."""


def sound(knows: object) -> dict[str, list[str]]:
    """What a model's own file says that it knows, which anybody may have written: only lists of words are kept."""
    if not isinstance(knows, dict):
        return {}
    lists = {
        kind: [phrase for phrase in phrases if isinstance(phrase, str) and phrase.strip()]
        for kind, phrases in knows.items()
        if isinstance(phrases, list)
    }
    return {kind: phrases for kind, phrases in lists.items() if phrases}


def as_read(prompt: str, knows: Knows) -> str:
    """What a model of a small vocabulary is told: the words that it knows, in its own spelling.

    Words that it does not know are dropped, with the articles before them; so are weights and punctuation. A prompt
    of known words stays as it is, but for capital letters.
    """
    kept = [""]  # from the last word to the first
    for _, word in reversed(_words(prompt, knows)):
        leads_nowhere = word in ("on", ",") and kept[-1] in ("", ",")
        of_nothing = word in ARTICLES and kept[-1] in ("", ",", "on", *ARTICLES)
        if word and not leads_nowhere and not of_nothing:
            kept.append(word)
    while kept[-1] in ("on", ","):
        kept.pop()
    return " ".join(reversed(kept)).rstrip().replace(" ,", ",")


def unknown_words(prompt: str, knows: Knows) -> list[str]:
    """The prompt's words that the model has never seen, in their order; none of a model of an open vocabulary."""
    return list(dict.fromkeys(word for word, known in _words(prompt, knows) if not known)) if knows else []


def check(prompt: str, knows: Knows) -> None:
    """Refuse a prompt of which the model knows nothing: it would make some object or other.

    Raises:
        BadInputError: no word but articles and views is known.
    """
    if not knows or any(known not in ("", ",", *GRAMMAR) for _, known in _words(prompt, knows)):
        return
    kind, phrases = next(iter(knows.items()))
    raise BadInputError(
        f'This model does not know any word of "{prompt}": choose a real model, or one of the {kind} that this one '
        f"knows: {', '.join(phrases)}."
    )


def about_unknown_words(prompt: str, knows: Knows) -> str:
    """A short sentence on the words of a prompt that the model does not know; "" where it knows all."""
    unknown = unknown_words(prompt, knows)
    if not unknown:
        return ""
    words = ", ".join(f'"{word}"' for word in unknown)
    return f"This model does not know {words} and ignores {'it' if len(unknown) == 1 else 'them'}. " + (
        "A real model knows more words."
    )


def warning(prompt: str, knows: Knows) -> str:
    """`about_unknown_words`, and all that the model knows."""
    sentence = about_unknown_words(prompt, knows)
    known = "; ".join(f"{kind}: {', '.join(phrases)}" for kind, phrases in knows.items())
    return sentence and f"{sentence} It knows {known}."


def _words(prompt: str, knows: Knows) -> list[tuple[str, str]]:
    """The prompt's words and commas, in small letters, each with what the model reads for it; "" for what it cannot."""
    known = {word for phrases in knows.values() for phrase in phrases for word in phrase.split()}
    known |= {*GRAMMAR, ","}
    text = unicodedata.normalize("NFKC", plain(prompt)).translate(_APOSTROPHES).lower()
    return [(word, next((form for form in _forms(word) if form in known), "")) for word in _WORD_OR_COMMA.findall(text)]


def _forms(word: str) -> Iterable[str]:
    """A word, and what it may be a plural, a genitive or another spelling of."""
    yield word
    if "'" in word:
        word = word.partition("'")[0]
        yield word
    for end, singular in (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("men", "man"), ("i", "us")):
        if word.endswith(end) and len(word) > len(end):
            stem = word[: -len(end)] + singular
            yield stem
            yield SPELLINGS.get(stem, stem)
    yield SPELLINGS.get(word, word)
