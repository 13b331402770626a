"""The words that tell a text-to-image model from which side it looks (view-dependent prompts).

DreamFusion (Poole et al. 2022, sec. 3.2) appends "front view", "side view", "back view" or "overhead view" to the
prompt, depending on where the camera stands. The same words are used in the captions of the starter prior's training
images, so this module is the one definition of both. Standard library only.
"""

from __future__ import annotations

from typing import Literal

ViewVocabulary = Literal["four", "eight"]

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


def view_words(azimuth_deg: float, elevation_deg: float, vocabulary: ViewVocabulary = "four") -> str:
    """Words for a camera's position.

    Args:
        azimuth_deg: 0 stands in front of the object (on -Y, looking along +Y), 90 on +X, which is the object's left.
        elevation_deg: height above the horizon, -90 to 90.
        vocabulary: "four" are DreamFusion's words, which any text-to-image model knows; "eight" tells left from right
            and is only of use to a model trained on such captions.

    Returns:
        For example "side view" or "back left view from above".
    """
    azimuth = azimuth_deg % 360.0
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


def with_view(prompt: str, words: str) -> str:
    """The prompt as the model gets it: "a red mug, front view"."""
    return f"{prompt}, {words}"


def without_view(text: str) -> tuple[str, str]:
    """The prompt and the view words that `with_view` has joined; the words are "" where the text ends with none."""
    for words in sorted(all_view_words(), key=len, reverse=True):
        if text.endswith(f", {words}"):
            return text[: -len(words) - 2], words
    return text, ""


def all_view_words() -> tuple[str, ...]:
    """Every phrase that `view_words` can return, for building a vocabulary that covers them."""
    four = ("front view", "side view", "back view", "overhead view")
    eight = _EIGHT_DIRECTIONS + tuple(f"{words} from above" for words in _EIGHT_DIRECTIONS)
    return tuple(dict.fromkeys(four + eight))
