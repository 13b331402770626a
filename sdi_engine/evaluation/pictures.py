"""Pictures of finished meshes: read as exported, then posed and rendered like the starter world's own things.

A result and a thing of the starter world both become points on a surface, and `starter.render` draws both, so that
the renderer's errors are the same for both.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from torch import Tensor

from ..errors import BadInputError
from ..starter.render import Light, Surface, composite, orbit, render, spread_points
from ..starter.world import canonical

ALL_AROUND = tuple(45.0 * k for k in range(8))
"""Azimuths in degrees; the camera at 0 is in front of the thing."""

GREY = 0.75
"""The background of measured pictures, 0...1: a lighter grey than any colour of the world but white."""


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh, Z up, the front faces -Y; from `load_mesh` and `textured_mesh` in the world's canonical pose.

    Attributes:
        vertices: (V, 3) float64, in the canonical pose scaled as `world.canonical` does and standing on the ground.
        faces: (F, 3) int64.
        uv: (V, 2) float64, origin at the texture's bottom left.
        texture: (H, W, 3) float32 in 0...1, sRGB, row 0 at the top.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    texture: np.ndarray

    def surface(self) -> Surface:
        """Points on the mesh in the texture's colours, with the middle of its height at the origin."""
        positions, normals, faces = spread_points(self.vertices, self.faces)
        weights = trimesh.triangles.points_to_barycentric(self.vertices[self.faces[faces]], positions)
        uv = (self.uv[self.faces[faces]] * weights[:, :, None]).sum(axis=1)
        coefficients = np.zeros((len(positions), 7), dtype=np.float32)
        coefficients[:, :3] = _read_texture(self.texture, uv)
        positions = positions - np.array([0.0, 0.0, self.vertices[:, 2].max() / 2])
        fields = (positions, normals, coefficients, np.eye(7, 3))
        return Surface(*(torch.from_numpy(np.ascontiguousarray(field)).float() for field in fields))


def load_mesh(file: Path) -> TexturedMesh:
    """A `mesh.glb` as the engine writes it (`mesh.export`), in the canonical pose.

    Raises:
        BadInputError: it cannot be read, has no surface or no texture, or its coordinates are NaN or infinite.
    """
    mesh = read_mesh(file)
    return textured_mesh(mesh.vertices, mesh.faces, mesh.uv, mesh.texture, f'"{file}"')


def read_mesh(file: Path) -> TexturedMesh:
    """The same as it is in the file, in place, size and every face, but with Z up.

    Raises:
        BadInputError: it cannot be read, or has no texture.
    """
    try:
        scene = trimesh.load_scene(file, process=False)
        meshes = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error) as error:
        raise BadInputError(f'"{file}" cannot be read as a mesh ({error}): generate it again.') from error
    if len(meshes) != 1:
        raise BadInputError(f'"{file}" has {len(meshes)} meshes: give a mesh.glb of this engine, which has one.')
    mesh = meshes[0]
    image = getattr(getattr(mesh.visual, "material", None), "baseColorTexture", None)
    uv = getattr(mesh.visual, "uv", None)
    if not isinstance(image, Image.Image) or uv is None:
        raise BadInputError(f'"{file}" has no texture: give a mesh.glb of this engine, which has one.')
    return TexturedMesh(
        vertices=_z_up(np.asarray(mesh.vertices, dtype=np.float64)),
        faces=np.asarray(mesh.faces, dtype=np.int64),
        uv=np.asarray(uv, dtype=np.float64),
        texture=np.asarray(image.convert("RGB"), dtype=np.float32) / 255,
    )


def textured_mesh(
    vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, texture: np.ndarray, name: str = "the mesh"
) -> TexturedMesh:
    """Puts a mesh of any position and size into the canonical pose; the fields are those of `TexturedMesh`.

    Args:
        vertices: (V, 3), Z up, the front faces -Y.
        faces: (F, 3).
        uv: (V, 2).
        texture: (H, W, 3).
        name: the mesh's name in messages.

    Raises:
        BadInputError: it has no surface or is flat, or its coordinates are NaN or infinite.
    """
    if not (np.isfinite(vertices).all() and np.isfinite(uv).all()):
        raise BadInputError(f"{name} has vertices that are NaN or infinite: generate it again.")
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    # Faces smaller than a square of a millionth of the mesh's size are invisible.
    faces = faces[area > 1e-12 * np.ptp(vertices, axis=0).max() ** 2] if len(faces) else faces
    if not len(faces):
        raise BadInputError(f"{name} is empty (no face has an area): generate it again.")
    used, faces = np.unique(faces, return_inverse=True)
    posed = vertices[used]
    if (np.ptp(posed, axis=0) <= 1e-6 * np.ptp(posed, axis=0).max()).any():
        raise BadInputError(f"{name} is flat: generate it again.")
    return TexturedMesh(canonical(posed), faces.reshape(-1, 3), uv[used], texture)


def render_around(
    surface: Surface,
    azimuths: Sequence[float] = ALL_AROUND,
    elevation: float = 15.0,
    size: int = 64,
    light: Light | None = None,
) -> Tensor:
    """Renders a surface from V sides, with the same lens and distance each time.

    Args:
        surface: of a result (`TexturedMesh.surface`) or of a thing of the world (`render.sample_surface`).
        azimuths: of V cameras, degrees; 0 is in front.
        elevation: of all cameras, degrees above the horizon.
        size: height and width in pixels.
        light: for V pictures; None shows the bare texture, which the judge reads best.

    Returns:
        (V, size, size, 4) in 0...1, premultiplied by channel 3, the opacity.
    """
    azimuth = torch.tensor([float(a) for a in azimuths])
    return render(surface, orbit(azimuth, torch.full_like(azimuth, elevation)), size, light)


def on_grey(pictures: Tensor) -> Tensor:
    """Pictures (V, H, W, 4) from `render_around` on plain light grey: (V, 3, H, W) in 0...1, for the judge."""
    return composite(pictures, torch.tensor(GREY)).permute(0, 3, 1, 2).contiguous()


def _z_up(vectors: np.ndarray) -> np.ndarray:
    """Turns glTF's (x, y, z) with Y up into (x, -z, y) with Z up; `mesh.export` does the inverse."""
    return np.stack([vectors[:, 0], -vectors[:, 2], vectors[:, 1]], axis=1)


def _read_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of a texture (H, W, 3) at uv (N, 2), bilinear; its border extends beyond 0...1."""
    height, width, _ = texture.shape
    column = (uv[:, 0] * width - 0.5).clip(0, width - 1)
    row = ((1 - uv[:, 1]) * height - 0.5).clip(0, height - 1)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right, bottom = (left + 1).clip(max=width - 1), (top + 1).clip(max=height - 1)
    across, down = (column - left)[:, None], (row - top)[:, None]
    upper = texture[top, left] * (1 - across) + texture[top, right] * across
    lower = texture[bottom, left] * (1 - across) + texture[bottom, right] * across
    return upper * (1 - down) + lower * down
