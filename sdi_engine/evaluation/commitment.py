"""Mode commitment: whether a result is one of the things that its caption may mean, or an average of them.

Score distillation with the wrong noise averages over many trajectories, hence over the modes of its prior: half boxy
and half round, striped this way and that. Such an average may have a good IoU with every mode, and yet be none of them.

For a result x and n instances x_i of its caption with mean m, of which x* is the nearest to x, the commitment is where
x lies along the line from m (0) to x* (1):

    c = ⟨x − m, x* − m⟩ / ‖x* − m‖² = ½ + (‖x − m‖² − ‖x − x*‖²) / (2·‖x* − m‖²)

So it compares the distance to the nearest instance with the distance to the mean. What x has in common with neither,
such as noise, does not count. An instance that is not among the n has less than 1, since the nearest one differs from
it, too; `Modes.of_truth` measures how much. `Modes.of_average` measures what the average itself has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

ROUNDING = 1e-6
"""Squared distances below it are none."""


@dataclass(frozen=True)
class Commitment:
    """Of one result, or the mean of several; None where the instances do not differ, or are fewer than two.

    Attributes:
        shape: of silhouettes, seen from 16 sides.
        texture: of pictures of the bare albedo, seen from eight sides, wherever the result and an instance both are;
            so outlines do not count.
    """

    shape: float | None
    texture: float | None

    @classmethod
    def mean(cls, many: Sequence[Commitment]) -> Commitment:
        """Of those that are known."""
        known = ([value for value in values if value is not None] for values in zip(*map(_both, many), strict=True))
        return cls(*(fmean(values) if values else None for values in known))


@dataclass(frozen=True)
class Modes:
    """n instances of one caption in the canonical pose, seen as results are.

    Attributes:
        silhouettes: (n, 16, 64, 64) bool, as of `geometry.Shape`.
        pictures: (n, 8, 64, 64, 4) uint8, as of `pictures.render_around`, times 255.
    """

    silhouettes: Tensor = field(repr=False)
    pictures: Tensor = field(repr=False)

    def commitment(self, silhouettes: Tensor, pictures: Tensor) -> Commitment:
        """Of a result, by its silhouettes (16, 64, 64) and its pictures (8, 64, 64, 4) in 0...1."""
        instances, result = _painted_over_mean(self.pictures.float() / 255.0, pictures.float())
        return Commitment(_along(self.silhouettes.float(), silhouettes.float()), _along(instances, result))

    def of_truth(self) -> Commitment:
        """What an instance has that is not among the others: the mean of all, each compared with the others."""
        return Commitment.mean(
            [others.commitment(silhouettes, pictures / 255.0) for silhouettes, pictures, others in self._each()]
        )

    def of_average(self) -> Commitment:
        """What the average of the instances has: solid where most of them are, in their mean colours there.

        The texture's is 0. The shape's is not, since it has an outline, which some instances share.
        """
        mean = self.pictures.float().mean(dim=0) / 255.0
        return self.commitment(self.silhouettes.float().mean(dim=0) > 0.5, mean)

    def _each(self) -> Iterator[tuple[Tensor, Tensor, Modes]]:
        for index in range(len(self.silhouettes)):
            others = torch.arange(len(self.silhouettes)) != index
            yield self.silhouettes[index], self.pictures[index], Modes(self.silhouettes[others], self.pictures[others])


def _along(instances: Tensor, result: Tensor) -> float | None:
    """How far a result (...) lies along the line from the mean of instances (n, ...) to the nearest of them."""
    if len(instances) < 2:
        return None
    mean = instances.mean(dim=0)
    nearest = instances[(instances - result).square().flatten(1).sum(dim=1).argmin()]
    apart = (nearest - mean).square().sum()
    return float(((result - mean) * (nearest - mean)).sum() / apart) if apart > ROUNDING else None


def _painted_over_mean(instances: Tensor, result: Tensor) -> tuple[Tensor, Tensor]:
    """Colours (n, V, H, W, 3) of instances and (V, H, W, 3) of a result; where one is not, the instances' mean colours.

    Args:
        instances: (n, V, H, W, 4), premultiplied by channel 3, the opacity.
        result: (V, H, W, 4), likewise.
    """
    opacity = instances[..., 3:].sum(dim=0)
    mean = instances[..., :3].sum(dim=0) / opacity.clamp(min=1e-6)

    def painted(pictures: Tensor) -> Tensor:
        return (pictures[..., :3] + (1.0 - pictures[..., 3:]) * mean) * (opacity > 0.0)

    return painted(instances), painted(result)


def _both(one: Commitment) -> tuple[float | None, float | None]:
    return one.shape, one.texture
