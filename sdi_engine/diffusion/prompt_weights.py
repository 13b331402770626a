"""Weights in a prompt, as artists write them: "(word:1.3)", "(word)", "[word]". Standard library only.

The syntax is that of AUTOMATIC1111's web interface, which most tools share ("Attention/emphasis" in its documentation):
round brackets make what is in them 1.1 times as strong, or as strong as their number says; square ones 1.1 times as
weak; they may be nested; a backslash makes a bracket an ordinary sign. A bracket without its partner is one too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STRONGER = 1.1

_SIGN = re.compile(r"\\[()\[\]\\]|[()\[\]]|[^\\()\[\]]+|\\")
_NUMBER = re.compile(r"\s*:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*$")


_NO_WORDS = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>|\bembedding:[^\s,():]+", re.IGNORECASE)
"""What other programs take for the name of a file, and not for words."""


@dataclass(frozen=True)
class Fragment:
    """A part of a prompt and how strongly it is meant; 1 is as it stands."""

    text: str
    weight: float = 1.0


def parse(prompt: str) -> list[Fragment]:
    """A prompt's fragments in their order, with all weights multiplied out.

    Without any weights their texts are the prompt, letter for letter. Weights may be any numbers; nothing is refused.
    """
    fragments: list[Fragment] = []
    opened: list[tuple[str, int]] = []
    for sign in _SIGN.findall(prompt):
        if sign in ("(", "["):
            opened.append((sign, len(fragments)))
            fragments.append(Fragment(sign))
        elif sign in (")", "]") and opened and opened[-1][0] + sign in ("()", "[]"):
            _, start = opened.pop()
            fragments[start:] = _weighted(fragments[start + 1 :], sign)
        else:
            fragments.append(Fragment(sign[1:] if len(sign) == 2 and sign[0] == "\\" else sign))
    return _joined(fragments)


def plain(prompt: str) -> str:
    """The prompt's words without the syntax."""
    return "".join(fragment.text for fragment in parse(prompt))


def names_of_files(prompt: str) -> list[str]:
    """What of a prompt names a LoRA, a hypernetwork or an embedding in other programs, such as "<lora:style:0.8>"."""
    return _NO_WORDS.findall(prompt)


def _weighted(fragments: list[Fragment], closing: str) -> list[Fragment]:
    """The fragments inside a pair of brackets, with the brackets' factor on their weights."""
    factor = STRONGER if closing == ")" else 1.0 / STRONGER
    number = _NUMBER.search(fragments[-1].text) if closing == ")" and fragments else None
    if number:
        factor = float(number[1])
        fragments[-1] = Fragment(fragments[-1].text[: number.start()], fragments[-1].weight)
    return [Fragment(fragment.text, fragment.weight * factor) for fragment in fragments]


def _joined(fragments: list[Fragment]) -> list[Fragment]:
    """Neighbours of one weight as one fragment; without empty ones."""
    joined: list[Fragment] = []
    for fragment in fragments:
        if not fragment.text:
            continue
        if joined and joined[-1].weight == fragment.weight:
            joined[-1] = Fragment(joined[-1].text + fragment.text, fragment.weight)
        else:
            joined.append(fragment)
    return joined
