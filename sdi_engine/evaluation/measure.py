"""What a finished mesh is worth: how well the judge recognises it, and how near it comes to the world's own things."""

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
from .geometry import Shape, chamfer, silhouette_iou
from .judge import BACK_BINS, Judge, Verdict, together
from .looks import Looks
from .pictures import load_mesh, look_around, on_grey

TRUTHS = 24
"""Instances that a result is compared with; it need only be like one of them."""

SEED = 30_000_001

_HEADS = ("thing", "colour", "pattern", "base", "base_colour")


@dataclass(frozen=True)
class Truths:
    """The world's own idea of a subject: random instances of it, all seen as results are.

    Attributes:
        subject: what they are.
        shapes: of each instance.
        looks: their mean.
        pictures: (N * 8, 3, 64, 64) uint8, eight views of each, as the judge sees results.
    """

    subject: Subject
    shapes: tuple[Shape, ...] = field(repr=False)
    looks: Looks = field(repr=False)
    pictures: Tensor = field(repr=False)

    @classmethod
    @cache
    def of(cls, subject: Subject, count: int = TRUTHS, seed: int = SEED) -> Truths:
        """Makes `count` instances, the same each time; takes seconds, and remembers what it made."""
        shapes, looks, pictures = [], [], []
        for index in range(count):
            surface = sample_surface(world.make_instance(subject, np.random.default_rng((seed, index))))
            seen = look_around(surface)
            shapes.append(Shape.of(surface))
            looks.append(Looks.of(seen))
            pictures.append((on_grey(seen) * 255).round().to(torch.uint8))
        return cls(subject, tuple(shapes), Looks.mean(looks), torch.cat(pictures))

    def features(self, judge: Judge) -> np.ndarray:
        """(N * 8, F) of all pictures, for `frechet.frechet`."""
        return judge.look(self.pictures.float() / 255).features.numpy()


@dataclass(frozen=True)
class Measured:
    """A result's numbers. "base" and "base_colour" are there only if the prompt names one.

    Attributes:
        per_view: share of the eight views in which the judge gives the right answer, 0...1, by "thing", "colour",
            "pattern", "base" and "base_colour".
        recognised: whether it gives the right answer when all views vote (`judge.together`).
        probability: how sure it is of the right answer then, 0...1.
        janus: share of the three views from behind in which it sees a front, 0...1; None if the kind has no front that
            it could tell from a back. (A head with a face on either side: the Janus problem of DreamFusion.)
        silhouette_iou: mean over 16 views, 0...1, with the instance that has the highest.
        chamfer: distance to the nearest instance, in units of the canonical height; see `geometry.chamfer`.
        normal_consistency: with the same instance, 0...1.
        sharpness: energy in high frequencies, as a ratio to the truth's; below 1 is softer, above 1 more restless, as
            of a plain thing that came out spotted; see `looks.Looks`.
        saturation: inside the object, as a ratio to the truth's.
        contrast: inside the object, as a ratio to the truth's.
        probabilities: the judge's answers, views x names, by head; for `ranking.r_precision`.
        features: (8, F), one row a view; for `frechet.frechet`.
    """

    per_view: dict[str, float]
    recognised: dict[str, bool]
    probability: dict[str, float]
    janus: float | None
    silhouette_iou: float
    chamfer: float
    normal_consistency: float
    sharpness: float
    saturation: float
    contrast: float
    probabilities: dict[str, list[list[float]]] = field(repr=False)
    features: np.ndarray = field(repr=False)

    @property
    def is_janus(self) -> bool | None:
        """Whether most views from behind show a front; None if the kind has none."""
        return None if self.janus is None else self.janus > 0.5

    def to_json(self) -> dict[str, Any]:
        """All but the features, as plain numbers, with `is_janus`."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "features"}
        return {**values, "is_janus": self.is_janus}


def measure(mesh_file: Path, subject: Subject, judge: Judge, truths: Truths) -> Measured:
    """Measures a mesh as exported, `mesh.glb`, against what its prompt names.

    Args:
        mesh_file: with its texture.
        subject: what it should be.
        judge: from `load_judge`.
        truths: `Truths.of(subject)`.

    Raises:
        BadInputError: the mesh cannot be read, is empty or broken.
    """
    surface = load_mesh(mesh_file).surface()
    pictures = look_around(surface)
    verdict = judge.look(on_grey(pictures))
    shape = Shape.of(surface)
    distance, consistency = min(chamfer(shape, truth) for truth in truths.shapes)
    heads = _HEADS if subject.base is not None else _HEADS[:3]
    right = judge.names.right(subject)
    answers = {name: getattr(verdict, name) for name in heads}
    sure = {name: together(answers[name]) for name in heads}
    return Measured(
        per_view={name: float((answers[name].argmax(dim=1) == right[name]).float().mean()) for name in heads},
        recognised={name: int(sure[name].argmax()) == right[name] for name in heads},
        probability={name: float(sure[name][right[name]]) for name in heads},
        janus=janus(verdict) if judge.has_front(subject) else None,
        silhouette_iou=max(silhouette_iou(shape, truth) for truth in truths.shapes),
        chamfer=distance,
        normal_consistency=consistency,
        **Looks.of(pictures).relative_to(truths.looks),
        probabilities={name: _rounded(getattr(verdict, name)) for name in _HEADS},
        features=verdict.features.numpy(),
    )


def janus(verdict: Verdict) -> float:
    """The share of the views from behind that show a front, of the verdict on the eight views of `ALL_AROUND`."""
    return float(looks_like_front(verdict.view[list(BACK_BINS)]).float().mean())


def _rounded(probabilities: Tensor) -> list[list[float]]:
    return [[round(value, 5) for value in row] for row in probabilities.tolist()]
