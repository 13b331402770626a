"""Colours of a surface, baked into an image over its UV map."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .eight_bit import eight_bit
from .unwrap import UnwrappedMesh

ColoursAt = Callable[[Tensor, Tensor], Tensor]
"""Points of a surface (N, 3), scene units, and its unit normals there (N, 3) → sRGB (N, 3) in 0…1."""


def bake(
    colours_at: ColoursAt, mesh: UnwrappedMesh, texture_size: int, device: torch.device, patch: int
) -> NDArray[np.uint8]:
    """A texture that shows at each texel the colour of the texel's own point of the surface.

    Args:
        colours_at: asked without gradients, for `patch` texels at a time, with tensors on `device`.
        texture_size: height and width of the image.

    Returns:
        (texture_size, texture_size, 3), sRGB, row 0 at the top (v = 1). Texels outside all charts have the colour of
        the nearest one inside, so that no seam shows.

    Raises:
        BrokenNumbersError: a colour is NaN or infinite.
    """
    position, normal, covered = rasterise_uv(mesh, texture_size)
    image = np.zeros((texture_size, texture_size, 3), dtype=np.float32)
    where = np.nonzero(covered)
    points = torch.from_numpy(position[where]).to(device)
    normals = torch.from_numpy(normal[where]).to(device)
    with torch.no_grad():
        colours = [colours_at(*some) for some in zip(points.split(patch), normals.split(patch), strict=True)]
    image[where] = torch.cat(colours).cpu().numpy()
    nearest = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    filled = image[nearest[0], nearest[1]]
    return eight_bit(torch.from_numpy(filled)).numpy()


def rasterise_uv(
    mesh: UnwrappedMesh, texture_size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Position and normal of the surface at the centre of each texel.

    Returns:
        position (n, n, 3), unit normal (n, n, 3), and covered (n, n): whether a triangle lies there; row 0 is v = 1.
    """
    n = texture_size
    corners = mesh.uv[mesh.faces] * [n, n] - 0.5
    corners[..., 1] = (n - 1) - corners[..., 1]
    low = np.floor(corners.min(axis=1)).astype(np.int64).clip(0, n - 1)
    high = np.ceil(corners.max(axis=1)).astype(np.int64).clip(0, n - 1)
    width, height = (high - low + 1).T

    # every texel in the bounding box of every triangle, as one long list
    count = width * height
    face = np.repeat(np.arange(len(count)), count)
    index = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    column = low[face, 0] + index % width[face]
    row = low[face, 1] + index // width[face]

    a, b, c = (corners[:, corner] for corner in range(3))
    area = _cross(b - a, c - a)
    area[np.abs(area) < 1e-12] = np.inf
    texel = np.stack([column, row], axis=-1)
    weight_b = _cross(texel - a[face], (c - a)[face]) / area[face]
    weight_c = _cross((b - a)[face], texel - a[face]) / area[face]
    inside = (weight_b >= -1e-4) & (weight_c >= -1e-4) & (weight_b + weight_c <= 1.0 + 1e-4)
    face, column, row = face[inside], column[inside], row[inside]
    weights = np.stack([1.0 - weight_b - weight_c, weight_b, weight_c], axis=-1)[inside].astype(np.float32)

    position = np.zeros((n, n, 3), dtype=np.float32)
    normal = np.zeros((n, n, 3), dtype=np.float32)
    covered = np.zeros((n, n), dtype=bool)
    position[row, column] = (mesh.vertices[mesh.faces[face]] * weights[..., None]).sum(axis=1)
    blended = (mesh.normals[mesh.faces[face]] * weights[..., None]).sum(axis=1)
    normal[row, column] = blended / np.linalg.norm(blended, axis=-1, keepdims=True).clip(1e-9)
    covered[row, column] = True
    return position, normal, covered


def _cross(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """The z component of the cross product of plane vectors, (…, 2) → (…)."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
