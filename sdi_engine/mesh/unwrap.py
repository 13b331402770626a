"""UV coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
import xatlas
from numpy.typing import NDArray


@dataclass(frozen=True)
class UnwrappedMesh:
    """A triangle mesh whose vertices are split along the seams of its UV map.

    Attributes:
        vertices: (V, 3), scene units.
        normals: (V, 3), unit length, smooth across seams.
        faces: (F, 3), counter-clockwise seen from outside.
        uv: (V, 2) in 0…1, origin at the texture's bottom left.
    """

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int64]
    uv: NDArray[np.float32]


def unwrap(mesh: trimesh.Trimesh, texture_size: int, padding: int) -> UnwrappedMesh:
    """Charts by xatlas, packed for a square texture of `texture_size` pixels with `padding` pixels between them."""
    atlas = xatlas.Atlas()
    normals = np.asarray(mesh.vertex_normals, dtype=np.float32)
    atlas.add_mesh(np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.uint32), normals)
    charts = xatlas.ChartOptions()
    charts.max_iterations = 1
    packing = xatlas.PackOptions()
    packing.resolution = texture_size
    packing.padding = padding
    packing.bilinear = True
    atlas.generate(charts, packing)
    source, faces, uv = atlas[0]
    return UnwrappedMesh(
        vertices=np.asarray(mesh.vertices, dtype=np.float32)[source],
        normals=normals[source],
        faces=faces.astype(np.int64),
        uv=uv.astype(np.float32),
    )
