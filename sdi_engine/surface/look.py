"""The base colour that a mesh has before it is painted."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .source import SourceMesh

Wrap = Literal["repeat", "clamp", "mirror"]
"""What a picture shows beyond an edge: itself again, the colours at the edge, or itself mirrored at every edge."""

REPEAT: tuple[Wrap, Wrap] = ("repeat", "repeat")
"""Along u and along v."""

FARTHEST = 1e6
"""UV coordinates beyond it, and infinite ones, count as this: at more, pixels are no numbers any more."""

UNKNOWN = 0.6
"""sRGB of a surface of which no colour is known: a light grey."""


class Look:
    """Base colours at points of the surface: from the picture on the UV map, or from the corners, or grey."""

    def __init__(self, source: SourceMesh, device: torch.device) -> None:
        """Take the source's picture and UV map to a device."""
        self.is_known = source.look_corners is not None or (source.look is not None and source.uv is not None)
        self._picture = self._uv = self._corners = None
        if source.look is not None and source.uv is not None:
            self._picture = torch.from_numpy(source.look).to(device)
            uv = torch.from_numpy(source.uv).to(device)
            self._uv = uv.nan_to_num().clamp(-FARTHEST, FARTHEST)
        elif source.look_corners is not None:
            self._corners = torch.from_numpy(source.look_corners).to(device)

    def colours(self, face: Tensor, barycentric: Tensor) -> Tensor:
        """sRGB in 0…1, (N, 3), at points in triangles; without gradients.

        Args:
            face: (N,), integers.
            barycentric: (N, 3), weights of the triangle's corners.
        """
        if self._picture is not None:
            uv = (self._uv[face] * barycentric[..., None]).sum(dim=1)
            return sampled(self._picture, uv)
        if self._corners is not None:
            return (self._corners[face] / 255.0 * barycentric[..., None]).sum(dim=1).clamp(0.0, 1.0)
        return torch.full_like(barycentric, UNKNOWN)


def sampled(picture: Tensor, uv: Tensor, wrap: tuple[Wrap, Wrap] = REPEAT) -> Tensor:
    """Bilinear samples (N, 3) in 0…1 of a picture (h, w, 3) of bytes; v = 0 is at the bottom."""
    height, width, _ = picture.shape
    x, y = uv[:, 0] * width - 0.5, (1.0 - uv[:, 1]) * height - 0.5
    left, top = x.floor(), y.floor()
    across, down = (x - left)[:, None], (y - top)[:, None]
    columns = [_wrapped((left + step).long(), width, wrap[0]) for step in (0, 1)]
    rows = [_wrapped((top + step).long(), height, wrap[1]) for step in (0, 1)]
    (a, b), (c, d) = ([picture[row, column].to(uv.dtype) for column in columns] for row in rows)
    return torch.lerp(torch.lerp(a, b, across), torch.lerp(c, d, across), down) / 255.0


def _wrapped(index: Tensor, count: int, wrap: Wrap) -> Tensor:
    """Which of a picture's rows or columns are seen at any whole numbers."""
    if wrap == "clamp":
        return index.clamp(0, count - 1)
    if wrap == "mirror":
        index = index % (2 * count)
        return torch.where(index < count, index, 2 * count - 1 - index)
    return index % count
