"""Mode commitment: whether a result is one of the things that its caption may mean, or an average of them.

Score distillation with the wrong noise averages over many trajectories, hence over the modes of its prior: half boxy
and half round, striped this way and that. Such an average may have a good IoU with every mode, and yet be none of them.

For a result x and n instances x_i of its caption with average m, of which x* is the nearest to x, the commitment is
where x lies along the line from m (0) to x* (1):

    c = ⟨x − m, x* − m⟩ / ‖x* − m‖² = ½ + (‖x − m‖² − ‖x − x*‖²) / (2·‖x* − m‖²)

So it compares the distance to the nearest instance with the distance to the average. What x has in common with neither
does not count. An instance that is not among the n has less than 1, since the nearest one differs from it, too;
`Modes.of_truth` measures how much. `Modes.of_average` measures what the average itself has. An average of two out of k
equally different designs has (k − 2) / (2k − 2): 0 if there are two, ¼ if there are three.

For the shape x are silhouettes, as numbers, and m is their mean. For the texture x is how strongly colours differ from
those beside and below them in each region of a picture: pictures themselves, pixel by pixel, would not do, because dots
of one instance lie where another has none, so that a perfectly dotted thing is no nearer to any of them than a blur is.
Squared differences, averaged over regions larger than the pattern, do not depend on where it lies, but on its contrast,
size and direction (the energies of filters' answers of Heeger and Bergen 1995, "Pyramid-Based Texture Analysis/
Synthesis"). m is that of the instances' average picture, which is a blur. With half the contrast there is a quarter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

DISTANCES = (1, 2)
"""Between the colours that are compared, in pixels of pictures of half the size; a period of the world's patterns has 2
to 6 of them."""

REGIONS = 4
"""Rows and columns of regions into which a picture is divided."""

ROUNDING = 1e-6
"""Squared distances below it are none."""


@dataclass(frozen=True)
class Commitment:
    """Of one result, or the mean of several; None where the instances do not differ, or are fewer than two.

    Attributes:
        shape: of silhouettes, seen from 16 sides.
        texture: of the contrasts in pictures of the bare albedo, seen from eight sides, wherever the result and an
            instance both are; so outlines do not count.
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
        if len(self.silhouettes) < 2:
            return Commitment(None, None)
        solid, instances = self.silhouettes.float(), _halved(self.pictures.float() / 255.0)
        seen = instances[..., 3].amax(dim=0) > 0.0
        contrasts = (_contrasts(colours, seen) for colours in _painted_over_mean(instances, _halved(pictures.float())))
        return Commitment(_along(solid, solid.mean(dim=0), silhouettes.float()), _along(*contrasts))

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


def _along(instances: Tensor, average: Tensor, result: Tensor) -> float | None:
    """How far a result (...) lies along the line from the average (...) to the nearest of the instances (n, ...)."""
    nearest = instances[(instances - result).square().flatten(1).sum(dim=1).argmin()]
    apart = (nearest - average).square().sum()
    return float(((result - average) * (nearest - average)).sum() / apart) if apart > ROUNDING else None


def _contrasts(colours: Tensor, seen: Tensor) -> Tensor:
    """The mean squares of differences between colours, for each of `DISTANCES`, direction, region and channel.

    Args:
        colours: (..., V, H, W, 3).
        seen: (V, H, W) bool; what is not seen differs from nothing.

    Returns:
        (..., V, 12 * `REGIONS`²).
    """
    energies = []
    for distance in DISTANCES:
        for axis in (-3, -2):
            length = colours.shape[axis] - distance
            both = seen[..., None].narrow(axis, 0, length) & seen[..., None].narrow(axis, distance, length)
            difference = (colours.narrow(axis, distance, length) - colours.narrow(axis, 0, length)) * both
            energies.append(F.adaptive_avg_pool2d(_channels_first(difference.square()).flatten(0, -4), REGIONS))
    return torch.cat(energies, dim=1).flatten(1).unflatten(0, colours.shape[:-3])


def _halved(pictures: Tensor) -> Tensor:
    """Pictures (..., H, W, C) of half the size, without noise of single pixels."""
    halved = F.avg_pool2d(_channels_first(pictures).flatten(0, -4), 2)
    return halved.permute(0, 2, 3, 1).unflatten(0, pictures.shape[:-3])


def _channels_first(pictures: Tensor) -> Tensor:
    """(..., H, W, C) as (..., C, H, W)."""
    return pictures.movedim(-1, -3)


def _painted_over_mean(instances: Tensor, result: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The colours of instances (n, V, H, W, 3), their mean colours and a result's (V, H, W, 3); where a picture shows
    nothing, the mean ones.

    Args:
        instances: (n, V, H, W, 4), premultiplied by channel 3, the opacity.
        result: (V, H, W, 4), likewise.
    """
    opacity = instances[..., 3:].sum(dim=0)
    mean = instances[..., :3].sum(dim=0) / opacity.clamp(min=1e-6)

    def painted(pictures: Tensor) -> Tensor:
        return pictures[..., :3] + (1.0 - pictures[..., 3:]) * mean

    return painted(instances), mean, painted(result)


def _both(one: Commitment) -> tuple[float | None, float | None]:
    return one.shape, one.texture
