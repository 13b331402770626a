"""The judge's accuracy on the truth itself: new things of the starter world, drawn as results are."""

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
from .pictures import ALL_AROUND, on_grey, render_around

SEED = 20_000_003
"""Of the test things, which neither the judge nor any prior was trained on."""

TOLD_APART = 0.95
"""Share of pictures in which the judge must tell front from back for a kind's Janus rate to mean anything."""


def accuracy(judge: Judge, seed: int = SEED, count: int = 120) -> dict[str, dict[str, float]]:
    """The judge's shares of correct answers on new things of the world: textured, on light grey, eight views of each.

    Args:
        judge: the judge to test.
        seed: of the things.
        count: number of things; all kinds take turns, one in five stands on another thing, and the cameras' elevation
            is 0 to 35 degrees.

    Returns:
        Shares in 0…1. "picture": for each head, over single pictures; "object": the same over whole things, whose
        views vote (`judge.together`), and "prompt" for all of these heads at once; "view": for each kind, how often
        the judge knew the view (a bottle is the same from all sides).
    """
    rng = np.random.default_rng(seed)
    correct: dict[str, list[bool]] = defaultdict(list)
    correct_together: dict[str, list[bool]] = defaultdict(list)
    views: dict[str, list[bool]] = defaultdict(list)
    bins = torch.arange(VIEW_BINS)
    for index in range(count):
        subject = random_subject(index, rng)
        surface = sample_surface(world.make_instance(subject, rng))
        verdict = judge.assess(on_grey(render_around(surface, elevation=float(rng.uniform(0, 35)))))
        answers = judge.names.correct(subject)
        for name, answer in answers.items():
            probabilities: Tensor = getattr(verdict, name)
            correct[name] += (probabilities.argmax(dim=1) == answer).tolist()
            correct_together[name].append(bool(together(probabilities).argmax() == answer))
        correct_together["prompt"].append(all(correct_together[name][-1] for name in answers))
        views[kinds_of(subject)] += (verdict.view.argmax(dim=1) == bins).tolist()
    correct["view"] = [known for kind in views.values() for known in kind]
    return {
        "picture": _shares(correct),
        "object": _shares(correct_together),
        "view": _shares(dict(sorted(views.items()))),
    }


def kinds_with_front(judge: Judge, seed: int = SEED + 1, count: int = 24) -> tuple[str, ...]:
    """The kinds and pairs (as `judge.kinds_of`) whose front the judge tells from the back; only they can be a Janus.

    Args:
        judge: the judge to test.
        seed: of the things.
        count: things of every kind and of every pair; each is shown from three sides in front and three behind.
    """
    azimuths = [ALL_AROUND[k] for k in (*FRONT_BINS, *BACK_BINS)]
    from_behind = torch.tensor([False] * len(FRONT_BINS) + [True] * len(BACK_BINS))
    told_apart: list[str] = []
    for number, kinds in enumerate([*((kind,) for kind in world.things()), *world.PAIRS]):
        rng = np.random.default_rng((seed, number))
        correct = []
        for index in range(count):
            subject = Subject(*(_random_item(kind, rng) for kind in kinds))
            surface = sample_surface(world.make_instance(subject, rng))
            elevation = 35.0 * index / count
            verdict = judge.assess(on_grey(render_around(surface, azimuths, elevation)))
            correct += (looks_like_front(verdict.view) != from_behind).tolist()
        if np.mean(correct) >= TOLD_APART:
            told_apart.append(" on ".join(kinds))
    return tuple(told_apart)


def looks_like_front(views: Tensor) -> Tensor:
    """Whether the judge takes a picture for the front rather than the back: (N,) bool from `Verdict.view` (N, 8)."""
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


def _shares(correct: dict[str, list[bool]]) -> dict[str, float]:
    return {name: round(float(np.mean(values)), 4) for name, values in correct.items()}
