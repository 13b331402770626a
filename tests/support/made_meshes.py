"""The starter world's own things as textured mesh files, written by the engine's own exporter."""

import math

import numpy as np
import trimesh

from sdi_engine.mesh.export import write_glb
from sdi_engine.mesh.unwrap import UnwrappedMesh
from sdi_engine.starter.world import Instance

TEXELS = 5
"""Texels along the edge of each face's square in the texture."""


def write_instance(file, instance: Instance, transform=None):
    """Write an instance as a GLB, transformed by `transform` (4 x 4); each small face has its own texels."""
    transform = np.eye(4) if transform is None else transform
    vertices, faces, origin = trimesh.remesh.subdivide_to_size(
        instance.vertices.astype(float), instance.faces, max_edge=0.08, max_iter=20, return_index=True
    )
    across = math.ceil(math.sqrt(len(faces)))
    size = across * TEXELS
    column, row = np.arange(len(faces)) % across * TEXELS, np.arange(len(faces)) // across * TEXELS
    # The corners lie on centres of texels, so that no neighbouring face's colour is blended in.
    corners = np.array([[0.5, 0.5], [TEXELS - 0.5, 0.5], [0.5, TEXELS - 0.5]])
    pixels = np.stack([column, row], axis=1)[:, None] + corners
    uv = np.stack([pixels[..., 0] / size, 1 - pixels[..., 1] / size], axis=-1).reshape(-1, 2)
    texture = np.zeros((size, size, 3), np.uint8)
    for y in range(TEXELS):
        for x in range(TEXELS):
            u, v = x / (TEXELS - 1), y / (TEXELS - 1)
            weights = np.array([1 - u - v, u, v])[:, None]
            points = (vertices[faces] * weights).sum(axis=1)
            texture[row + y, column + x] = (instance.albedo(points, origin) * 255).round().clip(0, 255)
    placed = trimesh.transform_points(vertices, transform)[faces].reshape(-1, 3).astype(np.float32)
    order = np.arange(len(placed)).reshape(-1, 3)
    if np.linalg.det(transform[:3, :3]) < 0:
        order = order[:, ::-1]
    normals = trimesh.Trimesh(placed, order, process=False).vertex_normals.astype(np.float32)
    write_glb(file, UnwrappedMesh(placed, normals, order, uv.astype(np.float32)), texture, "truth")
