"""Measures each result: the mesh as such, the thing by judge and geometry if its prompt is of the starter world, and by
CLIP if there is a CLIP model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..starter.captions import parse
from ..starter.world import Subject
from .accuracy import accuracy
from .clip_score import ClipScore
from .commitment import Commitment
from .judge import Judge, Verdict, load_judge
from .measure import Measured, Truths, measure
from .mesh_quality import MeshQuality
from .pictures import ALL_AROUND, load_mesh, read_mesh
from .portraits import portraits
from .ranking import r_precision


@dataclass(frozen=True)
class Examined:
    """The findings on one object.

    Attributes:
        values: by the names of `report.METRICS`, without those that do not apply to this object.
        features: (views, F) from the judge, for a Fréchet distance; None if the prompt is not of the starter world.
        details: further results of `measure`, view by view.
    """

    values: dict[str, float]
    features: np.ndarray | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """What results are compared with, as a whole.

    Attributes:
        features: (N, F) of the world's own things, for the Fréchet distance.
        commitment: of an instance that is not among those which results are compared with.
        average_commitment: of the average of these.
    """

    features: np.ndarray
    commitment: Commitment
    average_commitment: Commitment


class Examiner:
    """Measures the results of an evaluation.

    Args:
        prompts: all prompts of the evaluation.
        clip: the folder of a CLIP model, or None for no CLIP scores.
        judge: by default the shipped one, loaded only if a prompt is of the starter world.

    Attributes:
        fingerprint: a hash of all that its findings depend on: the judge, the starter world and this package's code.

    Raises:
        EnvironmentMissingError: the judge is missing or damaged.
        BadInputError: the folder contains no CLIP model.
    """

    def __init__(self, prompts: Sequence[str], clip: Path | None = None, judge: Judge | None = None) -> None:
        self.subjects = {prompt: _subject(prompt) for prompt in prompts}
        self._known = [subject for subject in self.subjects.values() if subject is not None]
        self._judge = (judge or load_judge()) if self._known else None
        self._clip = ClipScore(clip, prompts) if clip is not None else None
        self.fingerprint = _fingerprint(self._judge, f"{prompts}{clip}")

    def judge_accuracy(self) -> dict[str, dict[str, float]] | None:
        """The judge's own accuracy (`accuracy.accuracy`); None if it is not used."""
        return accuracy(self._judge) if self._judge is not None else None

    def askable(self, prompt: str) -> frozenset[str]:
        """The names of `report.METRICS` in which failed objects of a prompt count as not recognised."""
        subject = self.subjects[prompt]
        names = {"clip_r"} if self._clip is not None else set()
        if subject is not None:
            names |= {"thing", "colour", "pattern", "both", "r_thing", "r_colour", "r_both"}
            names |= {"base"} if subject.base is not None else set()
        return frozenset(names)

    def examine(self, mesh: Path, prompt: str) -> Examined:
        """Measure a finished mesh against its prompt.

        Raises:
            BadInputError: it is empty or broken.
        """
        values = _mesh_quality(mesh)
        subject = self.subjects[prompt]
        if self._clip is not None:
            values |= self._clip.judge(portraits(load_mesh(mesh), ALL_AROUND, self._clip.size), prompt)
        if subject is None or self._judge is None:
            return Examined(values)
        measured = measure(mesh, subject, self._judge, Truths.of(subject))
        details = {name: getattr(measured, name) for name in ("per_view", "probability", "janus")}
        return Examined(values | self._values(measured, subject), measured.features, details)

    def examine_samples(self, images: Tensor, views: Sequence[int], prompt: str) -> dict[str, float] | None:
        """The shares of 2D samples in which the judge recognises the prompt's thing, colour, pattern and view.

        Args:
            images: (N, 3, 64, 64) in 0...1.
            views: N indices into `ALL_AROUND`, the views that were prompted for.
            prompt: of all N.

        Returns:
            Shares in 0...1; None if the prompt is not of the starter world.
        """
        subject = self.subjects[prompt]
        if subject is None or self._judge is None:
            return None
        verdict: Verdict = self._judge.assess(images)
        answers = self._judge.names.correct(subject)
        correct = {
            head: getattr(verdict, head).argmax(dim=1) == answers[head] for head in ("thing", "colour", "pattern")
        }
        correct["both"] = correct["thing"] & correct["colour"]
        correct["view"] = verdict.view.argmax(dim=1) == torch.tensor(views)
        return {name: float(values.float().mean()) for name, values in correct.items()}

    def truth(self) -> Truth | None:
        """The world's own things of all prompts; None where no prompt is of the starter world."""
        if self._judge is None:
            return None
        truths = [Truths.of(subject) for subject in dict.fromkeys(self._known)]
        return Truth(
            np.concatenate([each.features(self._judge) for each in truths]),
            Commitment.mean([each.modes.of_truth() for each in truths]),
            Commitment.mean([each.modes.of_average() for each in truths]),
        )

    def _values(self, measured: Measured, subject: Subject) -> dict[str, float]:
        recognised = measured.recognised
        ranked = r_precision([measured.probabilities], [subject], self._known)
        values = {
            "thing": float(recognised["thing"]),
            "colour": float(recognised["colour"]),
            "pattern": float(recognised["pattern"]),
            "both": float(recognised["thing"] and recognised["colour"]),
            "r_thing": ranked["thing"],
            "r_colour": ranked["colour"],
            "r_both": ranked["both"],
            "iou": measured.silhouette_iou,
            "chamfer": measured.chamfer,
            "normals": measured.normal_consistency,
            "sharpness": measured.sharpness,
            "saturation": measured.saturation,
            "contrast": measured.contrast,
        }
        commitment = {"shape_commitment": measured.shape_commitment, "texture_commitment": measured.texture_commitment}
        values |= {name: value for name, value in commitment.items() if value is not None}
        if "base" in recognised:
            values["base"] = float(recognised["base"] and recognised["base_colour"])
        if measured.is_janus is not None:
            values["janus"] = float(measured.is_janus)
        return values


def _mesh_quality(mesh: Path) -> dict[str, float]:
    read = read_mesh(mesh)
    quality = MeshQuality.of(read.vertices, read.faces, read.uv)
    return {
        "non_manifold": float(quality.non_manifold_edges),
        "charts": float(quality.charts),
        "stretch": quality.stretch,
        "texture_fill": quality.texture_fill,
    }


def _fingerprint(judge: Judge | None, others: str) -> str:
    digest = hashlib.sha256(others.encode())
    here = Path(__file__).parent
    mesh, starter = here.parent / "mesh", here.parent / "starter"
    others_code = (mesh / "stretch.py", mesh / "topology.py", *sorted(starter.rglob("*.py")))
    for file in (*sorted(here.glob("*.py")), *others_code):
        digest.update(file.read_bytes())
    for tensor in judge.state_dict().values() if judge is not None else ():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _subject(prompt: str) -> Subject | None:
    try:
        return parse(prompt)
    except ValueError:
        return None
