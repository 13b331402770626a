"""Small meshes to paint."""

import numpy as np
import torch
import trimesh

from sdi_engine.surface.source import SourceMesh


def grid(across=4, size=1.0, **arrays):
    """A plane that stands upright and faces −Y, of 2 · across² triangles, its UV map nearly the whole square."""
    x, z = np.meshgrid(np.arange(across + 1) / across, np.arange(across + 1) / across)
    uv = np.stack([x.ravel(), z.ravel()], axis=1).astype(np.float32) * 0.9 + 0.05
    vertices = np.stack([x.ravel() - 0.5, np.zeros(x.size), z.ravel() - 0.5], axis=1).astype(np.float32) * size
    corner = (np.arange(across)[:, None] * (across + 1) + np.arange(across)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + across + 2], axis=1),
            np.stack([corner, corner + across + 2, corner + across + 1], axis=1),
        ]
    ).astype(np.int32)
    return SourceMesh(vertices, faces, **{"uv": uv[faces], **arrays})


def cube(size=1.0, at=(0.0, 0.0, 0.0), **arrays):
    """A cube whose six sides have islands of their own, in two rows of three."""
    box = trimesh.creation.box()
    vertices = (box.vertices * size + at).astype(np.float32)
    corners = box.vertices[box.faces] + 0.5
    normals = box.face_normals
    axis = np.abs(normals).argmax(axis=1)
    side = 2 * axis + (normals.sum(axis=1) > 0)
    plane = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    flat = np.take_along_axis(corners, plane[:, None].repeat(3, axis=1), axis=2)
    uv = (flat * 0.8 + 0.1 + np.stack([side % 3, side // 3], axis=1)[:, None]) / [3, 2]
    return SourceMesh(vertices, box.faces.astype(np.int32), **{"uv": uv.astype(np.float32), **arrays})


def by_place(source, place, colours):
    """A `baking.ColoursAt` whose colours follow from the points (N, 3) in scene units alone."""
    corners = torch.from_numpy(place.normalised(source.vertices)[source.faces])
    return lambda face, weights: colours((weights[..., None] * corners[face]).sum(dim=1))
