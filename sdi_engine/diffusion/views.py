"""The words that tell a text-to-image model from which side it looks (view-dependent prompts).

DreamFusion (Poole et al. 2022, sec. 3.2) appends "front view", "side view", "back view" or "overhead view" to the
prompt, depending on where the camera stands. The same words are used in the captions of the starter prior's training
images, so this module is the one definition of both. Models whose captions were written by vision-language models read
whole sentences; which family has which words is in `families.FAMILIES`. Standard library only.
"""

from __future__ import annotations

from typing import Literal

ViewVocabulary = Literal["four", "eight", "sentences"]

OVERHEAD_ELEVATION_DEG = 60.0
"""Above this elevation a camera's words are "overhead view", whatever its azimuth (threestudio's threshold)."""

FROM_ABOVE_ELEVATION_DEG = 30.0
"""Above this elevation the eight-direction vocabulary adds "from above"."""

_EIGHT_DIRECTIONS = (
    "front view",
    "front left view",
    "left side view",
    "back left view",
    "back view",
    "back right view",
    "right side view",
    "front right view",
)
"""Counter-clockwise seen from above, starting in front; each covers 45 degrees. Left is the *object's* left hand."""

_SENTENCES = {
    "front view": "The camera is right in front of it: a front view.",
    "side view": "The camera is beside it: a side view, in profile.",
    "back view": "The camera is behind it: a back view, from the rear.",
    "overhead view": "The camera is above it: an overhead view, looking straight down.",
}
"""DreamFusion's words, each in a sentence that says the same again."""


def view_words(azimuth_deg: float, elevation_deg: float, vocabulary: ViewVocabulary = "four") -> str:
    """Words for a camera's position.

    Args:
        azimuth_deg: 0 stands in front of the object (on -Y, looking along +Y), 90 on +X, which is the object's left.
        elevation_deg: height above the horizon, -90 to 90.
        vocabulary: "four" are DreamFusion's words, which any text-to-image model knows; "eight" tells left from right
            and is only of use to a model trained on such captions; "sentences" are for models that were trained on
            captions in prose.

    Returns:
        For example "side view" or "back left view from above".
    """
    azimuth = azimuth_deg % 360.0
    if vocabulary == "sentences":
        return in_vocabulary(view_words(azimuth_deg, elevation_deg), vocabulary)
    if vocabulary == "eight":
        words = _EIGHT_DIRECTIONS[int((azimuth + 22.5) // 45.0) % 8]
        return f"{words} from above" if elevation_deg > FROM_ABOVE_ELEVATION_DEG else words
    if elevation_deg > OVERHEAD_ELEVATION_DEG:
        return "overhead view"
    if azimuth < 45.0 or azimuth >= 315.0:
        return "front view"
    if 135.0 <= azimuth < 225.0:
        return "back view"
    return "side view"


def in_vocabulary(words: str, vocabulary: ViewVocabulary) -> str:
    """One of the "four" phrases, or "", as a model of another vocabulary gets it; "eight" has all of the four."""
    return _SENTENCES.get(words, words) if vocabulary == "sentences" else words


def in_few_words(words: str) -> str:
    """The phrase that a sentence for a view says at length; any other words as they are."""
    return next((phrase for phrase, sentence in _SENTENCES.items() if sentence == words), words)


def with_view(prompt: str, words: str) -> str:
    """The prompt as the model gets it: "a red mug, front view", or "a red mug. The camera is behind it: …"."""
    return f"{prompt.rstrip(' .,') if _is_sentence(words) else prompt}{joined(words)}"


def joined(words: str) -> str:
    """View words with what stands between them and the prompt; "" for none."""
    return f"{'. ' if _is_sentence(words) else ', '}{words}" if words else ""


def without_view(text: str) -> tuple[str, str]:
    """The prompt and the view words that `with_view` has joined; the words are "" where the text ends with none."""
    for words in sorted((*all_view_words(), *_SENTENCES.values()), key=len, reverse=True):
        if text.endswith(joined(words)):
            return text[: -len(joined(words))], words
    return text, ""


def longest_view(vocabulary: ViewVocabulary) -> str:
    """The longest of the phrases that `view_words` can return."""
    return max(_SENTENCES.values() if vocabulary == "sentences" else all_view_words(), key=len)


def all_view_words() -> tuple[str, ...]:
    """Every phrase of "four" and "eight", for building a vocabulary that covers them."""
    eight = _EIGHT_DIRECTIONS + tuple(f"{words} from above" for words in _EIGHT_DIRECTIONS)
    return tuple(dict.fromkeys((*_SENTENCES, *eight)))


def _is_sentence(words: str) -> bool:
    return words.endswith(".")
