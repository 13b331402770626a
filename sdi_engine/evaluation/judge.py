"""An independent judge: a small network that recognises what a picture of the starter world shows.

The starter prior cannot grade its own results, since they were optimised to please it. The judge is a network of
another kind, trained on pictures from other seeds (`judge_training`), and it never reads a prompt.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..errors import EnvironmentMissingError
from ..starter import world
from ..starter.paint import COLOURS, PATTERNS
from ..starter.world import Subject

WEIGHTS = Path(__file__).parent / "judge.safetensors"

NOTHING = "nothing"
"""The base, and its colour, of a thing that stands on the ground."""

VIEW_BINS = 8
"""Bin k holds the azimuths within 22.5 degrees of 45 k; bin 0 is the front."""

FRONT_BINS = (7, 0, 1)
BACK_BINS = (3, 4, 5)

LEAST_PROBABILITY = 0.01
"""The least probability of any answer when views vote together, so that one bad view cannot outvote seven good ones."""

FEATURES = 128
_BATCH = 256


@dataclass(frozen=True)
class Names:
    """The names of the judge's answers, in the order of its outputs.

    Attributes:
        things: answers of the head "thing"; those of "base" end with one more, `NOTHING`.
        colours: answers of "colour"; those of "base_colour" end with `NOTHING`.
        patterns: answers of "pattern".
    """

    things: tuple[str, ...]
    colours: tuple[str, ...]
    patterns: tuple[str, ...]

    @classmethod
    def of_world(cls) -> Names:
        """The names of the present starter world."""
        return cls(world.things(), tuple(COLOURS), PATTERNS)

    @property
    def bases(self) -> tuple[str, ...]:
        """The answers of the head "base"."""
        return (*self.things, NOTHING)

    @property
    def base_colours(self) -> tuple[str, ...]:
        """The answers of the head "base_colour"."""
        return (*self.colours, NOTHING)

    def sizes(self) -> dict[str, int]:
        """The number of answers of each head."""
        return {
            "thing": len(self.things),
            "colour": len(self.colours),
            "pattern": len(self.patterns),
            "view": VIEW_BINS,
            "base": len(self.bases),
            "base_colour": len(self.base_colours),
        }

    def correct(self, subject: Subject) -> dict[str, int]:
        """The index of the correct answer of each head but "view", for pictures of a subject."""
        thing, base = subject.thing, subject.base
        return {
            "thing": self.things.index(thing.kind),
            "colour": self.colours.index(thing.colour),
            "pattern": self.patterns.index(thing.pattern),
            "base": self.bases.index(base.kind if base else NOTHING),
            "base_colour": self.base_colours.index(base.colour if base else NOTHING),
        }


@dataclass(frozen=True)
class Verdict:
    """The judge's answers on N pictures; in all fields but the features each row is probabilities that sum to 1.

    Attributes:
        thing: (N, things), the upper thing of a pair.
        colour: (N, colours), the thing's; "wooden" is one of them.
        pattern: (N, patterns), the thing's; wood is plain.
        view: (N, 8), the side that the camera is on (`VIEW_BINS`).
        base: (N, things + 1), what the thing stands on; the last is `NOTHING`.
        base_colour: (N, colours + 1); the last is `NOTHING`.
        features: (N, 128), the last layer before the heads; for `frechet.frechet`.
    """

    thing: Tensor
    colour: Tensor
    pattern: Tensor
    view: Tensor
    base: Tensor
    base_colour: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.thing)

    def __getitem__(self, rows: slice) -> Verdict:
        return Verdict(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


class Judge(nn.Module):
    """A convolutional network for pictures of 64 x 64; call `assess`.

    Args:
        names: the names of its answers.
        fronts: the kinds and pairs (as `kinds_of`) whose front it can tell from the back.
    """

    def __init__(self, names: Names, fronts: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.names, self.fronts = names, fronts
        self.body = nn.Sequential(
            # Blocks of 4 x 4 pixels become channels: hardly anything is lost, at a fraction of the work.
            nn.PixelUnshuffle(4),
            *_layer(48, 64),
            *_layer(64, 64),
            *_layer(64, 128, stride=2),
            *_layer(128, 128),
            *_layer(128, 192, stride=2),
        )
        self.places = nn.Conv2d(192, 48, 1)
        self.mix = nn.Linear(2 * 192 + 48 * 4 * 4, FEATURES)
        sizes = names.sizes()
        # A front is different for each thing, so the head has eight answers for each.
        outputs = {**sizes, "view": sizes["thing"] * VIEW_BINS}
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, size) for name, size in outputs.items()})

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (N, 128) and each head's logits (N, names), for images (N, 3, 64, 64) in 0...1.

        The logits of "view" are (N, things, 8): those of the views, given that it is that thing.
        """
        maps = self.body((2 * images - 1).contiguous(memory_format=torch.channels_last))
        # The mean tells how much of a feature there is, the maximum whether it is there at all; its position tells a
        # front view from other views.
        places = F.silu(self.places(maps)).flatten(1)
        features = F.silu(self.mix(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3)), places], dim=1)))
        logits = {name: head(features) for name, head in self.heads.items()}
        return features, {**logits, "view": logits["view"].unflatten(1, (-1, VIEW_BINS))}

    @torch.no_grad()
    def assess(self, images: Tensor) -> Verdict:
        """The judge's answers on images (N, 3, 64, 64) in 0...1; best on plain light grey (`pictures.on_grey`)."""
        self.eval()
        parts = [self(batch) for batch in images.split(_BATCH)]
        answers = {name: torch.cat([logits[name].softmax(dim=-1) for _, logits in parts]) for name in self.heads}
        answers["view"] = (answers["thing"][:, :, None] * answers["view"]).sum(dim=1)
        return Verdict(**answers, features=torch.cat([features for features, _ in parts]))

    def has_front(self, subject: Subject) -> bool:
        """Whether the judge can tell the subject's front from its back; a bottle, for example, has none."""
        return kinds_of(subject) in self.fronts

    def save(self, file: Path) -> None:
        """Writes the weights in half precision, and the names into a `.json` file beside them."""
        weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in self._weights()}
        file.write_bytes(save(weights))
        about = {**dataclasses.asdict(self.names), "fronts": self.fronts}
        file.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.state_dict().items():
            yield name, tensor.contiguous()


def kinds_of(subject: Subject) -> str:
    """A subject without its colours: "car", "bird on cactus"."""
    return " on ".join(item.kind for item in subject.items)


@cache
def load_judge(file: Path = WEIGHTS) -> Judge:
    """The trained judge on the CPU, in evaluation mode.

    Raises:
        EnvironmentMissingError: the file is missing or damaged, or the judge was trained on another world.
    """
    try:
        about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        names = Names(*(tuple(about[field.name]) for field in dataclasses.fields(Names)))
        judge = Judge(names, tuple(about["fronts"]))
        weights = {name: tensor.float() for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentMissingError(f'The judge "{file}" is missing or damaged ({error}): {_CURE}') from error
    if names != Names.of_world():
        raise EnvironmentMissingError(
            f'The judge "{file}" was trained on another starter world, with other things, colours or patterns: {_CURE}'
        )
    try:
        judge.load_state_dict(weights)
    except RuntimeError as error:
        raise EnvironmentMissingError(f'The judge "{file}" is damaged, or of another version: {_CURE}') from error
    return judge.eval()


_CURE = "reinstall the extension, or train a judge with python -m sdi_engine.evaluation.judge_training --output FILE."


def together(probabilities: Tensor) -> Tensor:
    """The vote of all views of one thing: the product of their probabilities, normalised to sum to 1.

    Args:
        probabilities: (..., V, K) of V views and K answers; values below `LEAST_PROBABILITY` are raised to it.

    Returns:
        (..., K), probabilities that sum to 1.
    """
    return probabilities.clamp(min=LEAST_PROBABILITY).log().sum(dim=-2).softmax(dim=-1)


def _layer(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
