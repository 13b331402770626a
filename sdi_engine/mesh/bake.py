"""The field's albedo, baked into an image over a mesh's UV map."""

from __future__ import annotations

import nerfacc
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..radiance.field import RadianceField
from .eight_bit import eight_bit
from .unwrap import UnwrappedMesh

SAMPLES_PER_TEXEL = 12
"""Field evaluations along the short ray that each texel looks along."""


def bake_albedo(
    field: RadianceField,
    mesh: UnwrappedMesh,
    texture_size: int,
    depth: float,
    patch: int,
) -> NDArray[np.uint8]:
    """What is seen of the field just above and below each texel's point of the surface, looking against its normal.

    A point of the simplified mesh may lie beside the field's surface, so the colour is not read at the point: it is
    volume-rendered from `depth` above the surface to `depth` below it, as the renders were while optimising.

    Args:
        texture_size: height and width of the image.
        depth: scene units.
        patch: texels at a time.

    Returns:
        (texture_size, texture_size, 3), sRGB, row 0 at the top (v = 1). Texels outside all charts have the colour of
        the nearest one inside, so that no seam shows.

    Raises:
        BrokenNumbersError: a colour is none.
    """
    position, normal, covered = rasterise_uv(mesh, texture_size)
    device = field.grids[0].device
    image = np.zeros((texture_size, texture_size, 3), dtype=np.float32)
    where = np.nonzero(covered)
    points = torch.from_numpy(position[where]).to(device)
    inward = -torch.from_numpy(normal[where]).to(device)
    colours = []
    for some_points, some_inward in zip(points.split(patch), inward.split(patch), strict=True):
        colours.append(_seen_from_outside(field, some_points, some_inward, depth))
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


@torch.no_grad()
def _seen_from_outside(field: RadianceField, points: Tensor, inward: Tensor, depth: float) -> Tensor:
    """(N, 3): the volume rendering of short rays around surface points, as if nothing else were there."""
    edges = torch.linspace(-depth, depth, SAMPLES_PER_TEXEL + 1, device=points.device)
    middles = (edges[:-1] + edges[1:]) / 2.0
    along = points[:, None] + middles[:, None] * inward[:, None]
    density, albedo = field(along.reshape(-1, 3))
    starts, ends = edges[:-1].expand(len(points), -1), edges[1:].expand(len(points), -1)
    weights, _, _ = nerfacc.render_weight_from_density(starts, ends, density.view(len(points), -1))
    # where hardly anything is seen, the samples count equally
    weights = weights + 1e-4
    return (weights[..., None] * albedo.view(len(points), -1, 3)).sum(dim=1) / weights.sum(dim=1, keepdim=True)


def _cross(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """The z component of the cross product of plane vectors, (…, 2) → (…)."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
