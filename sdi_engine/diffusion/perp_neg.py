"""Perp-Neg (Armandpour et al. 2023): between views the prompt is interpolated, and the other views are kept away from.

Without it a model that likes fronts puts one on every side (the Janus problem). There are four views, in the model's
words for them; `prior.Prior.predict` does what the weights ask for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .prior import Conditioning, NegativePrompt, Prior, mix, parts
from .views import OVERHEAD_ELEVATION_DEG, in_vocabulary, with_view

FRONT, SIDE, BACK, OVERHEAD, NOTHING = "front view", "side view", "back view", "overhead view", ""


@dataclass(frozen=True)
class ViewMixture:
    """The view words for one camera's image.

    Attributes:
        one, other: words of two views, which are mixed.
        share: of `other`, 0…1.
        away: two views to keep away from, each with its weight, at most 0.
    """

    one: str
    other: str
    share: float
    away: tuple[tuple[str, float], tuple[str, float]]


def view_mixture(azimuth_deg: float, elevation_deg: float) -> ViewMixture:
    """The interpolation of Perp-Neg's paper (sec. 4.2), with the decays that threestudio uses.

    Args:
        azimuth_deg: 0 in front of the object.
        elevation_deg: above `OVERHEAD_ELEVATION_DEG` there is nothing to mix.
    """
    if elevation_deg > OVERHEAD_ELEVATION_DEG:
        return ViewMixture(OVERHEAD, OVERHEAD, 0.0, ((NOTHING, 0.0), (NOTHING, 0.0)))
    turned = abs((azimuth_deg + 180.0) % 360.0 - 180.0)
    if turned < 90.0:
        to_side = turned / 90.0
        away = ((FRONT, -_decay(4.0, -2.426, 1.0 - to_side)), (SIDE, -_decay(4.0, -2.426, to_side)))
        return ViewMixture(FRONT, SIDE, to_side, away)
    to_back = turned / 90.0 - 1.0
    away = ((SIDE, -_decay(1.0, -0.606, 1.0 - to_back)), (FRONT, -_decay(1.0, 0.967, 1.0 - to_back)))
    return ViewMixture(SIDE, BACK, to_back, away)


def condition_views(
    prior: Prior, prompt: str, negative_prompt: str, azimuths_deg: list[float], elevations_deg: list[float]
) -> Conditioning:
    """The conditioning for one prompt seen by B cameras, with Perp-Neg."""
    views = [view_mixture(*angles) for angles in zip(azimuths_deg, elevations_deg, strict=True)]

    def told(words: list[str]) -> list[str]:
        in_its_words = (in_vocabulary(view, prior.hints.view_vocabulary) for view in words)
        return [with_view(prompt, view) if view else NegativePrompt(negative_prompt) for view in in_its_words]

    one, other, first, second, negative = parts(
        prior.text(
            [
                *told([view.one for view in views]),
                *told([view.other for view in views]),
                *told([view.away[0][0] for view in views]),
                *told([view.away[1][0] for view in views]),
                *[NegativePrompt(negative_prompt)] * len(views),
            ]
        ),
        count=5,
    )
    weights = [torch.tensor([view.away[index][1] for view in views], device=prior.device) for index in range(2)]
    return Conditioning(
        prompt=mix(one, other, torch.tensor([view.share for view in views])),
        negative=negative,
        away=((first, weights[0]), (second, weights[1])),
    )


def _decay(scale: float, shift: float, share: float) -> float:
    """scale·exp(−share / 2) + shift: how strongly to keep away from a view; 0 or little where it is the one wanted."""
    return scale * math.exp(-0.5 * share) + shift
