"""How far the judge is to be trusted: how well it reads what the yardstick shows it, when that is the truth itself."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from ..starter import world
from ..starter.dataset import PAIR_SHARE
from ..starter.paint import COLOURS, PATTERNS, WOODEN
from ..starter.render import sample_surface
from ..starter.world import Item, Subject
from .judge import BACK_BINS, FRONT_BINS, VIEW_BINS, Judge, kinds_of, together
from .pictures import ALL_AROUND, look_around, on_grey

SEED = 20_000_003
"""Of the test pictures: neither the judge's training nor any prior's has seen them."""

TOLD_APART = 0.95
"""In so many pictures the judge must see whether they show the front or the back, for a Janus rate to mean anything."""


def accuracy(judge: Judge, seed: int = SEED, count: int = 120) -> dict[str, dict[str, float]]:
    """The judge's shares of right answers on new things of the world, textured, on light grey, eight views of each.

    Args:
        judge: who is tested.
        seed: of the things.
        count: things; all kinds take turns, one in five stands on another thing, cameras are 0 to 35 degrees high.

    Returns:
        "picture": of each head, over single pictures; "object": the same over whole things, whose views vote
        (`judge.together`), and "prompt" for all of these heads at once; "view": of each kind, how often the judge knew
        from where it saw it (a bottle looks the same all around).
    """
    rng = np.random.default_rng(seed)
    right: dict[str, list[bool]] = defaultdict(list)
    right_together: dict[str, list[bool]] = defaultdict(list)
    views: dict[str, list[bool]] = defaultdict(list)
    bins = torch.arange(VIEW_BINS)
    for index in range(count):
        subject = random_subject(index, rng)
        surface = sample_surface(world.make_instance(subject, rng))
        verdict = judge.look(on_grey(look_around(surface, elevation=float(rng.uniform(0, 35)))))
        answers = judge.names.right(subject)
        for name, answer in answers.items():
            probabilities: Tensor = getattr(verdict, name)
            right[name] += (probabilities.argmax(dim=1) == answer).tolist()
            right_together[name].append(bool(together(probabilities).argmax() == answer))
        right_together["prompt"].append(all(right_together[name][-1] for name in answers))
        views[kinds_of(subject)] += (verdict.view.argmax(dim=1) == bins).tolist()
    right["view"] = [seen for kind in views.values() for seen in kind]
    return {"picture": _shares(right), "object": _shares(right_together), "view": _shares(dict(sorted(views.items())))}


def kinds_with_front(judge: Judge, seed: int = SEED + 1, count: int = 24) -> tuple[str, ...]:
    """The subjects (`judge.kinds_of`) whose front and back the judge tells apart: of the others no Janus is counted.

    Args:
        judge: who is asked.
        seed: of the things.
        count: things of every kind and of every pair; each is seen from three sides in front and three behind.
    """
    azimuths = [ALL_AROUND[k] for k in (*FRONT_BINS, *BACK_BINS)]
    from_behind = torch.tensor([False] * len(FRONT_BINS) + [True] * len(BACK_BINS))
    told_apart: list[str] = []
    for number, kinds in enumerate([*((kind,) for kind in world.things()), *world.PAIRS]):
        rng = np.random.default_rng((seed, number))
        right = []
        for index in range(count):
            subject = Subject(*(_random_item(kind, rng) for kind in kinds))
            surface = sample_surface(world.make_instance(subject, rng))
            elevation = 35.0 * index / count
            verdict = judge.look(on_grey(look_around(surface, azimuths, elevation)))
            right += (looks_like_front(verdict.view) != from_behind).tolist()
        if np.mean(right) >= TOLD_APART:
            told_apart.append(" on ".join(kinds))
    return tuple(told_apart)


def looks_like_front(views: Tensor) -> Tensor:
    """(N,) bool: whether the judge takes a picture for the front rather than the back, of `Verdict.view` (N, 8)."""
    return views[:, FRONT_BINS].sum(dim=1) > views[:, BACK_BINS].sum(dim=1)


def random_subject(index: int, rng: np.random.Generator) -> Subject:
    """A thing in any colour and pattern, alone or on another; kinds and pairs take turns by `index`."""
    every = round(1 / PAIR_SHARE)
    if index % every == every - 1:
        kinds = list(world.PAIRS)[index // every % len(world.PAIRS)]
    else:
        kinds = (world.things()[(index - index // every) % len(world.things())],)
    return Subject(*(_random_item(kind, rng) for kind in kinds))


def _random_item(kind: str, rng: np.random.Generator) -> Item:
    colour = str(rng.choice(list(COLOURS)))
    return Item(kind, colour) if colour == WOODEN else Item(kind, colour, str(rng.choice(PATTERNS)))


def _shares(right: dict[str, list[bool]]) -> dict[str, float]:
    return {name: round(float(np.mean(values)), 4) for name, values in right.items()}
