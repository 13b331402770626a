"""What a person is told whose prompt goes beyond a model of a small vocabulary. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GRAMMAR = ("a", "an", "on")
"""Words that hold the others together."""

Knows = Mapping[str, Sequence[str]]
"""A model's words or phrases by kind ("things", "colours"), from its `sdi_engine.json`; empty where it knows all."""


def unknown_words(prompt: str, knows: Knows) -> list[str]:
    """The prompt's words that the model has never seen, in their order; none of a model of an open vocabulary."""
    if not knows:
        return []
    known = {word for phrases in knows.values() for phrase in phrases for word in phrase.split()} | set(GRAMMAR)
    return [word for word in dict.fromkeys(prompt.lower().replace(",", " ").split()) if word not in known]


def left_out(prompt: str, knows: Knows) -> str:
    """A short sentence on what the model leaves out of a prompt; "" where that is nothing."""
    unknown = unknown_words(prompt, knows)
    if not unknown:
        return ""
    words = ", ".join(f'"{word}"' for word in unknown)
    return f"This model does not know {words} and leaves it out. A real model knows the rest."


def warning(prompt: str, knows: Knows) -> str:
    """`left_out`, and all that the model knows."""
    sentence = left_out(prompt, knows)
    known = "; ".join(f"{kind}: {', '.join(phrases)}" for kind, phrases in knows.items())
    return sentence and f"{sentence} It knows {known}."
