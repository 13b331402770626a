"""Measures a finished mesh: how well the judge recognises it, and how close it is to the world's own things."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..starter import world
from ..starter.render import sample_surface
from ..starter.world import Subject
from .accuracy import looks_like_front
from .appearance import Appearance
from .commitment import Modes
from .geometry import Shape, chamfer, silhouette_iou
from .judge import BACK_BINS, Judge, Verdict, together
from .pictures import load_mesh, on_grey, render_around

TRUTHS = 24
"""Number of instances of the subject that a result is compared with; it need only resemble one of them."""

SEED = 30_000_001

_HEADS = ("thing", "colour", "pattern", "base", "base_colour")


@dataclass(frozen=True)
class Truths:
    """The truth for a subject: random instances of it, rendered as results are.

    Attributes:
        subject: what they are instances of.
        shapes: of N instances.
        appearance: the mean over the instances.
        pictures: (N * 8, 3, 64, 64) uint8, eight views of each, as the judge gets those of results.
        modes: the same instances, for mode commitment.
    """

    subject: Subject
    shapes: tuple[Shape, ...] = field(repr=False)
    appearance: Appearance = field(repr=False)
    pictures: Tensor = field(repr=False)
    modes: Modes = field(repr=False)

    @classmethod
    @cache
    def of(cls, subject: Subject, count: int = TRUTHS, seed: int = SEED) -> Truths:
        """Makes `count` instances, the same each time; takes seconds, and is cached."""
        shapes, appearances, pictures, bare = [], [], [], []
        for index in range(count):
            surface = sample_surface(world.make_instance(subject, np.random.default_rng((seed, index))))
            views = render_around(surface)
            shapes.append(Shape.of(surface))
            appearances.append(Appearance.of(views))
            pictures.append(_eight_bit(on_grey(views)))
            bare.append(_eight_bit(views))
        modes = Modes(torch.stack([shape.silhouettes for shape in shapes]), torch.stack(bare))
        return cls(subject, tuple(shapes), Appearance.mean(appearances), torch.cat(pictures), modes)

    def features(self, judge: Judge) -> np.ndarray:
        """The judge's features (N * 8, F) of all pictures, for `frechet.frechet`."""
        return judge.assess(self.pictures.float() / 255).features.numpy()


@dataclass(frozen=True)
class Measured:
    """A result's numbers. Those for "base" and "base_colour" exist only if the prompt names a base.

    Attributes:
        per_view: share of the eight views in which the judge is correct, 0...1, by "thing", "colour", "pattern",
            "base" and "base_colour".
        recognised: whether the judge is correct when all views vote (`judge.together`).
        probability: the probability of the correct answer in that vote, 0...1.
        janus: share of the three views from behind that the judge takes for a front, 0...1; None if it cannot tell
            front from back for this kind. (A face on either side of a head is the Janus problem of DreamFusion.)
        silhouette_iou: mean over 16 views, 0...1, with the instance for which it is highest.
        chamfer: distance to the nearest instance, in units of the canonical height; see `geometry.chamfer`.
        normal_consistency: with that instance, 0...1.
        shape_commitment, texture_commitment: 0 for the mean of the instances, 1 for one of them; see `commitment`.
        sharpness: energy of high frequencies, as a ratio to the truth's; below 1 the result is softer, above 1 noisier,
            such as a plain thing that came out spotted; see `appearance.Appearance`.
        saturation: inside the object, as a ratio to the truth's.
        contrast: inside the object, as a ratio to the truth's.
        probabilities: the judge's answers, views x names, by head; for `ranking.r_precision`.
        features: (8, F), one row per view; for `frechet.frechet`.
    """

    per_view: dict[str, float]
    recognised: dict[str, bool]
    probability: dict[str, float]
    janus: float | None
    silhouette_iou: float
    chamfer: float
    normal_consistency: float
    shape_commitment: float | None
    texture_commitment: float | None
    sharpness: float
    saturation: float
    contrast: float
    probabilities: dict[str, list[list[float]]] = field(repr=False)
    features: np.ndarray = field(repr=False)

    @property
    def is_janus(self) -> bool | None:
        """Whether the judge takes most views from behind for a front; None if it cannot tell for this kind."""
        return None if self.janus is None else self.janus > 0.5

    def to_json(self) -> dict[str, Any]:
        """All fields but the features, and `is_janus`, as JSON allows."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "features"}
        return {**values, "is_janus": self.is_janus}


def measure(mesh_file: Path, subject: Subject, judge: Judge, truths: Truths) -> Measured:
    """Measures an exported mesh, `mesh.glb`, against its subject.

    Args:
        mesh_file: contains the texture too.
        subject: what it should be.
        judge: from `load_judge`.
        truths: `Truths.of(subject)`.

    Raises:
        BadInputError: the mesh cannot be read, is empty or broken.
    """
    surface = load_mesh(mesh_file).surface()
    pictures = render_around(surface)
    verdict = judge.assess(on_grey(pictures))
    shape = Shape.of(surface)
    distance, consistency = min(chamfer(shape, truth) for truth in truths.shapes)
    commitment = truths.modes.commitment(shape.silhouettes, pictures)
    heads = _HEADS if subject.base is not None else _HEADS[:3]
    correct = judge.names.correct(subject)
    answers = {name: getattr(verdict, name) for name in heads}
    votes = {name: together(answers[name]) for name in heads}
    return Measured(
        per_view={name: float((answers[name].argmax(dim=1) == correct[name]).float().mean()) for name in heads},
        recognised={name: int(votes[name].argmax()) == correct[name] for name in heads},
        probability={name: float(votes[name][correct[name]]) for name in heads},
        janus=janus(verdict) if judge.has_front(subject) else None,
        silhouette_iou=max(silhouette_iou(shape, truth) for truth in truths.shapes),
        chamfer=distance,
        normal_consistency=consistency,
        shape_commitment=commitment.shape,
        texture_commitment=commitment.texture,
        **Appearance.of(pictures).relative_to(truths.appearance),
        probabilities={name: _rounded(getattr(verdict, name)) for name in _HEADS},
        features=verdict.features.numpy(),
    )


def janus(verdict: Verdict) -> float:
    """The share of the views from behind taken for a front, from a verdict on the eight views of `ALL_AROUND`."""
    return float(looks_like_front(verdict.view[list(BACK_BINS)]).float().mean())


def _eight_bit(pictures: Tensor) -> Tensor:
    return (pictures * 255).round().to(torch.uint8)


def _rounded(probabilities: Tensor) -> list[list[float]]:
    return [[round(value, 5) for value in row] for row in probabilities.tolist()]
