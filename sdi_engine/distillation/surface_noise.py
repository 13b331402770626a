"""Noise that lives on the object, so that two views of one place on its surface see the same noise.

W is a table of cells, each with one number N(0, 1) for every channel of the noise. A place in the world belongs to the
cell that its coordinates hash to, for cubes of a given edge. A pixel p that sees the cells Ω_p, the cell c n_c times,
has the noise

    κ(p) = Σ n_c·W_c / √Σ n_c²        (for n_c = 1 it is |Ω_p|^(−1/2) Σ W_c, Yan et al., Consistent Flow Distillation,
                                       ICLR 2025),

which is N(0, 1) in every element. Pixels of one view share a cell at most at their borders and so are nearly
independent; those of two views that see the same places share most of their cells. What a pixel sees of the background
is no place, and gets noise of its own in every step.

All of this is at the grain of the noise: the latents of a model with a VAE, with as many channels; single pixels where
the model folds pixels into channels (`Prior.unfolded`), since a shift by one pixel is none of the folded image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from . import noise_kernels
from .noise_kernels import SAMPLES

ENTRIES = 2**18
"""Cells in the table, a power of two. An object has some ten thousand on its surface, so few of them share an entry."""

HALF_OPAQUE = 0.5
"""A point with a lower opacity than this belongs to the background."""

HASH_PRIMES = (73_856_093, 19_349_663, 83_492_791)
"""Primes of the spatial hash for unbounded grids by Teschner et al. 2003."""


@dataclass(frozen=True)
class Footprints:
    """The cells that each pixel of B views sees, Ω_p, through S samples.

    Attributes:
        entries: (B, n, n, S), int32, where in the table the cell of a sample is; beside the object negative, and
            another number for each sample, as if every one saw a cell of its own.
        times_seen: (B, n, n, S): n_c of the cell c that a sample sees, how many samples of its pixel see it.
        beside: (B, n, n), how many samples see the background.
        length: (B, n, n): √Σ n_c² over the cells that a pixel sees.
        cells: (M,), int64: where in the table the cells are that anybody sees, ascending.
    """

    entries: Tensor
    times_seen: Tensor
    beside: Tensor
    length: Tensor
    cells: Tensor

    @staticmethod
    def of(entries: Tensor) -> Footprints:
        """What follows from the entries, (B, n, n, S), int32."""
        by_sample = entries.movedim(-1, 0).contiguous()
        times = torch.ones_like(by_sample, dtype=torch.uint8)
        for distance in range(1, len(by_sample)):  # all pairs at once would be sixteen times as much memory
            are_one = by_sample[distance:] == by_sample[:-distance]
            times[distance:] += are_one
            times[:-distance] += are_one
        times_seen = times.movedim(0, -1).float()
        seen = torch.zeros(ENTRIES + 1, dtype=torch.bool, device=entries.device)
        seen[entries.clamp(min=-1).flatten().long()] = True  # those beside the object share the last place
        # a sum over samples counts each cell n_c times
        length, beside = times_seen.sum(dim=-1).sqrt(), (entries < 0).sum(dim=-1).float()
        return Footprints(entries, times_seen, beside, length, seen[:-1].nonzero()[:, 0])

    @staticmethod
    def of_surface(position: Tensor, opacity: Tensor, edge: float, resolution: int) -> Footprints:
        """The cells that views of an object see.

        Args:
            position: (B, H, W, 3), the point of the surface behind each pixel, scene units; anything where the opacity
                is 0.
            opacity: (B, H, W, 1) in 0…1.
            edge: of a cell, scene units.
            resolution: n; H and W are at most four times as many.
        """
        # weighted by the opacity, so that what lies behind an edge does not pull the edge away from the object
        weighted = torch.cat([position * opacity, opacity], dim=-1)
        if noise_kernels.can_be_fused(weighted.device):
            numbers = (edge, resolution, HALF_OPAQUE, HASH_PRIMES, ENTRIES)
            return Footprints(*noise_kernels.cells_seen(weighted, *numbers))
        finer = resolution * SAMPLES
        weighted = F.interpolate(
            weighted.permute(0, 3, 1, 2), size=(finer, finer), mode="bilinear", align_corners=False
        )
        share = weighted[:, 3]
        x, y, z = (weighted[:, :3] / share[:, None].clamp(min=1e-6) / edge).floor().long().unbind(dim=1)
        hashed = (x * HASH_PRIMES[0] ^ y * HASH_PRIMES[1] ^ z * HASH_PRIMES[2]) & (ENTRIES - 1)
        none = -1 - torch.arange(hashed.numel(), device=hashed.device).view_as(hashed)
        entries = torch.where(share > HALF_OPAQUE, hashed, none).int()
        by_pixel = entries.view(-1, resolution, SAMPLES, resolution, SAMPLES).transpose(2, 3)
        return Footprints.of(by_pixel.reshape(-1, resolution, resolution, SAMPLES**2))

    @staticmethod
    def of_pixels(count: int, resolution: int, device: torch.device) -> Footprints:
        """The pixels of `count` images as cells, for 2D, where every step is about the same pixels."""
        cells = torch.arange(count * resolution**2, device=device) % ENTRIES
        return Footprints.of(cells.int().view(count, resolution, resolution, 1))

    @property
    def opacity(self) -> Tensor:
        """(B, 1, n, n) in 0…1: which share of a pixel's samples see the object."""
        return 1.0 - self.beside[:, None] / self.entries.shape[-1]


class NoiseCells:
    """W, the memory of a run whose noise lives on the object.

    Attributes:
        values: (`ENTRIES`, C), each cell as it was when it was last looked at.
        kept: (`ENTRIES`,), the logarithm of the share of its variance that a cell has kept since then: what it forgets
            is drawn when it is looked at again. Nobody who looks can tell the difference.
    """

    def __init__(self, channels: int, random: Generator, device: torch.device) -> None:
        self.values = torch.randn(ENTRIES, channels, generator=random).to(device)
        self.kept = torch.zeros(ENTRIES, device=device)
        self._before: _Before | None = None

    def restore(self, values: Tensor, kept: Tensor | None = None) -> None:
        """Go on with what another run of the same kind had.

        Args:
            kept: None if none of its cells had anything to forget.

        Raises:
            ValueError: it was of another kind.
        """
        kept = torch.zeros_like(self.kept) if kept is None else kept
        for found, wanted in ((values, self.values), (kept, self.kept)):
            if found.shape != wanted.shape:
                raise ValueError(f"{tuple(found.shape)} numbers, where {tuple(wanted.shape)} were wanted")
        self.values, self.kept = values.to(self.values), kept.to(self.kept)
        self._before = None

    def remember(self) -> None:
        """This is the state that `undo` goes back to."""
        self._before = _Before(self.kept)

    def undo(self) -> None:
        """Be as when `remember` was called last."""
        assert self._before is not None
        for cells, values in reversed(self._before.values):
            self.values.index_copy_(0, cells, values)
        self.kept = self._before.kept
        self.remember()

    def refresh(self, gamma: float) -> None:
        """W ← √(1 − γ)·W + √γ·ε, ε ~ N(0, I): forgets a share γ of what it is, and stays N(0, I)."""
        if gamma > 0.0:
            self.kept = self.kept + math.log(max(1.0 - gamma, 1e-30))

    def look(self, pixels: Footprints, random: Generator) -> None:
        """Draw what the cells that pixels see have forgotten."""
        seen = pixels.cells
        held, kept = self.values.index_select(0, seen), self.kept.index_select(0, seen).exp()[:, None]
        if self._before is not None:
            self._before.values.append((seen, held))
        if (kept < 1.0).any():
            fresh = torch.randn(held.shape, generator=random, device=random.device).to(held)
            self.values.index_copy_(0, seen, kept.sqrt() * held + (1.0 - kept).sqrt() * fresh)
            self.kept = self.kept.index_fill(0, seen, 0.0)

    def seen_by(self, pixels: Footprints, random: Generator) -> Tensor:
        """κ(p) = Σ n_c·W_c / √Σ n_c², (B, C, n, n).

        Args:
            random: draws what cells have forgotten (`look`), and what is seen of the background.
        """
        self.look(pixels, random)
        entries = pixels.entries
        if noise_kernels.can_be_fused(self.values.device):
            total = noise_kernels.sums_of_cells(self.values, entries.flatten(0, 2)).view(*entries.shape[:3], -1)
        else:
            # as fast again as an index in brackets
            rows = self.values.index_select(0, entries.clamp(min=0).flatten())
            total = (rows.view(*entries.shape, -1) * (entries >= 0)[..., None]).sum(dim=-2)
        background = torch.randn(total.shape, generator=random, device=random.device).to(total)
        total = total + pixels.beside.sqrt()[..., None] * background
        return (total / pixels.length[..., None]).permute(0, 3, 1, 2)

    def add(self, pixels: Footprints, change: Tensor) -> None:
        """Change W by as little as makes each pixel's κ another one, averaged where pixels share a cell.

        The least change of W that adds δ to κ(p) alone is n_c·δ / √Σ n_c² in each cell c of Ω_p: it leaves W as it is
        in all other directions, and so a normal number, which an average of the pixels' noise would not be.

        Args:
            pixels: that were looked at since the last `refresh` and `remember`.
            change: δ, (B, C, n, n); nothing is done about the background's share in it.
        """
        wanted = (change.permute(0, 2, 3, 1) / pixels.length[..., None]).flatten(0, 2)
        if noise_kernels.can_be_fused(self.values.device):
            entries, times = (each.flatten(0, 2) for each in (pixels.entries, pixels.times_seen))
            total, looking = noise_kernels.wishes_of_pixels(entries, times, wanted, len(self.values))
        else:
            seen = (pixels.entries >= 0).flatten().nonzero()[:, 0]
            # numbers of samples and pixels select rows faster than masks and expanded tensors do
            entries = pixels.entries.flatten().index_select(0, seen)
            by_sample = wanted.index_select(0, seen // pixels.entries.shape[-1])
            # each of its n_c samples counts a cell's pixel as a part of one
            looking = torch.zeros(len(self.values), device=self.values.device)
            looking.index_add_(0, entries, 1.0 / pixels.times_seen.flatten().index_select(0, seen))
            total = torch.zeros_like(self.values).index_add_(0, entries, by_sample)
        cells = pixels.cells
        means = total.index_select(0, cells) / looking.index_select(0, cells)[:, None].clamp(min=1.0)
        self.values.index_add_(0, cells, means)


@dataclass
class _Before:
    """What cells were like.

    Attributes:
        kept: `NoiseCells.kept`, which is replaced, never changed.
        values: which cells were looked at since then, (M,), and their values of before, (M, C), in their order.
    """

    kept: Tensor
    values: list[tuple[Tensor, Tensor]] = field(default_factory=list)


def standardised(noise: Tensor, opacity: Tensor) -> Tensor:
    """Noise with a mean of 0 and a deviation of 1 over the object, in each view and channel.

    Args:
        noise: (B, C, n, n).
        opacity: (B, 1, n, n) in 0…1, how much each pixel counts.
    """
    count = opacity.sum((2, 3), keepdim=True).clamp(min=1e-6)
    centred = noise - (noise * opacity).sum((2, 3), keepdim=True) / count
    deviation = ((centred.square() * opacity).sum((2, 3), keepdim=True) / count).sqrt()
    return centred / deviation.clamp(min=1e-6)
