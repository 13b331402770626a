"""Normals of the fine surface, baked for a simplified one: a tangent-space normal map as glTF and Blender read it.

Red is along the tangent (towards +U), green along the bitangent (towards +V), blue along the normal: "OpenGL", +Y. The
tangents are those of MikkTSpace, which glTF and Blender take where a file has none: those of the triangles around a
vertex, laid into its plane and weighted by the triangles' angles there.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .bake import Canvas
from .unwrap import UnwrappedMesh

SOFTNESS = 1.0
"""Standard deviation in cells by which densities are blurred before their gradient is taken: about what the surface is
smoothed by."""

CLIP = 3.0
"""The logarithm of the density counts up to this far from the surface's: beyond it says nothing of where that lies."""

AT_ONCE = 2**18
"""Texels whose normals are looked for at once: a matter of memory, and a person is heard in between."""

LEAST_AGREEMENT = 0.3
"""Least cosine of a fine normal to the simplified surface's; where they differ more, such as in thin walls, it is the
normal of something else."""


class Normals(Protocol):
    """The normals of a fine surface."""

    def at(self, points: NDArray[np.float32], normals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit normals (N, 3) at points (N, 3) on or near it, scene units; 0 where there is none.

        Args:
            normals: (N, 3), those of the simplified surface there, unit length.
        """


class FineNormals:
    """Outward normals of the isosurface of a grid of densities (`surface.fine_surface`).

    Args:
        density: (x, y, z), at the vertices of a regular grid.
        level: the density at the surface.
        cell: edge of a grid cell in scene units.
        origin: (3,), where the grid's lowest corner is, scene units.
        smoothing: standard deviation by which the surface was smoothed (`surface.smoothed`), scene units.
    """

    def __init__(
        self,
        density: NDArray[np.float32],
        level: float,
        cell: float,
        origin: NDArray[np.float32],
        smoothing: float = 0.0,
    ) -> None:
        logarithm = np.log(np.pad(density, 1) / level + 1e-6).clip(-CLIP, CLIP)
        self._gradient = np.gradient(ndimage.gaussian_filter(logarithm, max(SOFTNESS, smoothing / cell)))
        self._cell, self._origin = cell, origin

    def at(self, points: NDArray[np.float32], normals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit normals (N, 3) at points (N, 3) on or near the surface, scene units; 0 where there is none."""
        places = ((points - self._origin) / self._cell + 1.0).T
        return _unit(-np.stack([ndimage.map_coordinates(part, places, order=1) for part in self._gradient], axis=1))


def bake_normals(fine: Normals, canvas: Canvas) -> NDArray[np.uint8]:
    """The normal map of a simplified surface, (size, size, 3), row 0 at the top (v = 1)."""
    tangents = tangents_of(canvas.mesh)

    def colours_of(part: Canvas) -> Tensor:
        normal = part.normals
        tangent = part.blended(tangents[:, :3])
        bitangent = np.sign(part.blended(tangents[:, 3:])) * np.cross(normal, tangent)
        wanted = fine.at(part.points, normal)
        wanted = np.where((wanted * normal).sum(axis=1, keepdims=True) < LEAST_AGREEMENT, normal, wanted)
        # its coordinates along three vectors that are not quite at right angles
        dual = [np.cross(bitangent, normal), np.cross(normal, tangent), np.cross(tangent, bitangent)]
        along = np.stack([(wanted * each).sum(axis=1) for each in dual], axis=1)
        volume = (tangent * dual[0]).sum(axis=1, keepdims=True)
        along = np.where(np.abs(volume) > 1e-6, along * np.sign(volume), [0.0, 0.0, 1.0])
        return torch.from_numpy((_unit(along) / 2.0 + 0.5).astype(np.float32))

    return canvas.picture(colours_of, AT_ONCE)


def tangents_of(mesh: UnwrappedMesh) -> NDArray[np.float32]:
    """(V, 4): each vertex's unit tangent T, and w of its bitangent w · N × T, −1 in mirrored charts and else 1."""
    corners, uv = mesh.vertices[mesh.faces].astype(np.float64), mesh.uv[mesh.faces].astype(np.float64)
    along, across = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    u, v = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    doubled = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    side = np.where(doubled < 0.0, -1.0, 1.0)
    of_face = side[:, None] * (along * v[:, 1:] - across * u[:, 1:])
    total = np.zeros((len(mesh.vertices), 4))
    for corner in range(3):
        vertex = mesh.faces[:, corner]
        normal = mesh.normals[vertex]
        here = corners[:, corner]
        sides = [_unit(_in_plane(corners[:, other] - here, normal)) for other in ((corner + 1) % 3, (corner + 2) % 3)]
        angle = np.arccos((sides[0] * sides[1]).sum(axis=1).clip(-1.0, 1.0))
        weighted = angle[:, None] * np.concatenate([_unit(_in_plane(of_face, normal)), side[:, None]], axis=1)
        np.add.at(total, vertex, weighted)
    tangent = _unit(_in_plane(total[:, :3], mesh.normals))
    return np.concatenate([tangent, np.where(total[:, 3:] < 0.0, -1.0, 1.0)], axis=1).astype(np.float32)


def _in_plane(vectors: NDArray[np.floating], normals: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors - normals * (vectors * normals).sum(axis=1, keepdims=True)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors (N, 3) of length 1; those without a length stay 0."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-20)
