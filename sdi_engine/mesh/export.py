"""A textured mesh as a GLB file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from ..system.files import write_atomically
from .png import Png
from .unwrap import UnwrappedMesh

ROUGHNESS = 0.8
"""The material's roughness: diffusion models paint most things matt, and highlights are in the texture already."""


def standing_on_ground(
    vertices: NDArray[np.float32], height: float, like: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The vertices scaled to a height and moved such that the object stands at the origin: z from 0 to `height`.

    Args:
        vertices: (V, 3), Z up.
        height: metres.
        like: (W, 3), another mesh of the same object; then that stands so, and this one is where it was beside it.
    """
    reference = vertices if like is None else like
    low, high = reference.min(axis=0), reference.max(axis=0)
    base = np.array([(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0, low[2]])
    return ((vertices - base) * (height / (high[2] - low[2]))).astype(np.float32)


def write_glb(
    path: Path, mesh: UnwrappedMesh, albedo: NDArray[np.uint8], name: str, normals: NDArray[np.uint8] | None = None
) -> bytes:
    """Write a binary glTF with one mesh and a metallic-roughness material with the textures embedded.

    glTF is Y up with the front on +Z (Blender's importer turns that into Z up and front −Y).

    Args:
        mesh: vertices in metres, Z up, front −Y.
        albedo: (n, n, 3), sRGB, row 0 at the top.
        name: of the object, mesh and material.
        normals: (n, n, 3), a normal map (`normal_map`), if there is one.

    Returns:
        The albedo as the content of a PNG file, as it is in the GLB.
    """
    picture = Png(albedo)
    material = PBRMaterial(
        name=name,
        baseColorTexture=picture,
        normalTexture=None if normals is None else Png(normals),
        metallicFactor=0.0,
        roughnessFactor=ROUGHNESS,
    )
    textured = trimesh.Trimesh(
        vertices=_y_up(mesh.vertices),
        faces=mesh.faces,
        vertex_normals=_y_up(mesh.normals),
        visual=TextureVisuals(uv=mesh.uv, material=material),
        process=False,
    )
    scene = trimesh.Scene()
    scene.add_geometry(textured, node_name=name, geom_name=name)
    write_atomically(path, scene.export(file_type="glb", include_normals=True))
    return picture.content


def _y_up(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(x, y, z) with Z up to (x, z, −y) with Y up."""
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], axis=1)
