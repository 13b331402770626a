"""What a surface looks like, baked into images over its UV map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..system.occasions import occasion
from .eight_bit import eight_bit
from .texels import nearest_known, taken_from, texels
from .unwrap import UnwrappedMesh

ColoursAt = Callable[[Tensor, Tensor], Tensor]
"""Points of a surface (N, 3), scene units, and its unit normals there (N, 3) → sRGB (N, 3) in 0…1."""


@dataclass(frozen=True)
class Canvas:
    """The N texels of a square image that lie on a mesh.

    Attributes:
        mesh: unwrapped.
        size: height and width of the image.
        face, row, column: (N,), a texel's triangle and place; row 0 is v = 1.
        weights: (N, 3), barycentric coordinates of its centre.
    """

    mesh: UnwrappedMesh
    size: int
    face: NDArray[np.int32]
    row: NDArray[np.int32]
    column: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, mesh: UnwrappedMesh, size: int) -> Canvas:
        return cls(mesh, size, *texels(mesh.uv[mesh.faces], size))

    def blended(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the texels (N, C) have of values at the vertices (V, C)."""
        return np.einsum("nk,nkc->nc", self.weights, values[self.mesh.faces[self.face]])

    @property
    def points(self) -> NDArray[np.float32]:
        """(N, 3), where the texels are on the mesh, scene units."""
        return self.blended(self.mesh.vertices)

    @property
    def normals(self) -> NDArray[np.float32]:
        """(N, 3), the unit normals as the mesh is shaded."""
        blended = self.blended(self.mesh.normals)
        return blended / np.linalg.norm(blended, axis=-1, keepdims=True).clip(1e-9)

    def picture(self, colours_of: Callable[[Canvas], Tensor], at_once: int) -> NDArray[np.uint8]:
        """An image (size, size, 3) of all texels; a person is heard while it is made.

        Texels outside all charts have the colour of the nearest one inside, so that no seam shows.

        Args:
            colours_of: asked for the colours, (M, 3) in 0…1, of `at_once` texels at a time: memory is for as many.

        Raises:
            BrokenNumbersError: a colour is NaN or infinite.
        """
        image = np.zeros((self.size, self.size, 3), dtype=np.uint8)
        for begin in range(0, max(1, len(self.face)), at_once):
            occasion()
            some = slice(begin, begin + at_once)
            part = Canvas(self.mesh, self.size, self.face[some], self.row[some], self.column[some], self.weights[some])
            image[part.row, part.column] = eight_bit(colours_of(part)).numpy()
        return taken_from(image, *self._nearest)

    @cached_property
    def _nearest(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """For each texel the row and the column of the nearest one on the mesh."""
        known = np.zeros((self.size, self.size), dtype=bool)
        known[self.row, self.column] = True
        return nearest_known(known)


def bake(colours_at: ColoursAt, canvas: Canvas, device: torch.device, patch: int) -> NDArray[np.uint8]:
    """A texture that shows at each texel the colour of the texel's own point of the surface.

    Args:
        colours_at: asked without gradients, for `patch` texels at a time, with tensors on `device`.

    Returns:
        (size, size, 3), sRGB, row 0 at the top (v = 1); see `Canvas.picture`.

    Raises:
        BrokenNumbersError: a colour is NaN or infinite.
    """

    def colours_of(part: Canvas) -> Tensor:
        return colours_at(torch.from_numpy(part.points).to(device), torch.from_numpy(part.normals).to(device))

    with torch.no_grad():
        return canvas.picture(colours_of, patch)
