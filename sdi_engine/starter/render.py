"""A small batched renderer for the starter world's meshes: points splatted into a z-buffer, in plain torch.

A mesh is sampled once into many surface points; each picture projects them, drops those that face away, and keeps the
nearest point of every pixel of a grid twice as fine as the picture. No compiled kernel, a few milliseconds a picture
on a CPU, and the same code on a GPU. It is a data generator: nothing here is differentiable, and silhouettes come out
up to half a pixel too wide.

The camera convention is the engine's: azimuth 0 stands on -Y and looks along +Y at the thing's front, azimuth 90
stands on +X; up is +Z; row 0 is the top of the picture; right in the picture is cross(forward, up).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from torch import Tensor

from .world import Instance, palette

POINTS_PER_AREA = 16_000
"""Surface points per square unit: enough to leave no holes in pictures of 64 x 64."""

SUPERSAMPLING = 2
_SPLAT = 2
_DEPTH_STEPS = 2.0**24


@dataclass(frozen=True)
class Surface:
    """Points on an instance, with the centre of its bounding box at the origin.

    Attributes:
        positions: (N, 3) float32.
        normals: (N, 3) float32 unit vectors.
        coefficients: (N, 7) float32, from `Instance.coefficients`.
        palette: (7, 3) float32, from `world.palette`.
    """

    positions: Tensor
    normals: Tensor
    coefficients: Tensor
    palette: Tensor

    @property
    def colors(self) -> Tensor:
        """(N, 3) albedo in 0...1, sRGB."""
        return self.coefficients @ self.palette

    def to(self, device: torch.device | str) -> Surface:
        """The same points on another device."""
        fields = (self.positions, self.normals, self.coefficients, self.palette)
        return Surface(*(field.to(device) for field in fields))


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras with square pictures.

    Attributes:
        azimuth: (B,) degrees; 0 stands on -Y, 90 on +X.
        elevation: (B,) degrees above the horizon.
        distance: (B,) to `target`.
        fov: (B,) degrees, the full vertical field of view.
        target: (B, 3), the point at the middle of the picture.
    """

    azimuth: Tensor
    elevation: Tensor
    distance: Tensor
    fov: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.azimuth)

    def __getitem__(self, index: slice | Tensor) -> Cameras:
        fields = (self.azimuth, self.elevation, self.distance, self.fov, self.target)
        return Cameras(*(field[index] for field in fields))

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras on another device."""
        fields = (self.azimuth, self.elevation, self.distance, self.fov, self.target)
        return Cameras(*(field.to(device) for field in fields))

    def toward_eye(self) -> Tensor:
        """(B, 3) unit vectors from the target to the camera."""
        azimuth, elevation = torch.deg2rad(self.azimuth), torch.deg2rad(self.elevation)
        level = torch.cos(elevation)
        return torch.stack([torch.sin(azimuth) * level, -torch.cos(azimuth) * level, torch.sin(elevation)], dim=-1)

    def positions(self) -> Tensor:
        """(B, 3) positions of the cameras."""
        return self.target + self.distance[:, None] * self.toward_eye()

    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors (B, 3) to the right, up and forward in the picture."""
        forward = -self.toward_eye()
        right = torch.nn.functional.normalize(
            torch.linalg.cross(forward, forward.new_tensor([[0.0, 0.0, 1.0]])), dim=-1
        )
        return right, torch.linalg.cross(right, forward), forward


def orbit(azimuth: Tensor, elevation: Tensor, fov: float = 40.0, half_frame: float = 0.75) -> Cameras:
    """Cameras that look at the origin from all around.

    Args:
        azimuth: (B,) degrees.
        elevation: (B,) degrees.
        fov: vertical field of view in degrees.
        half_frame: half the height that the picture covers at the origin; it sets the distance.
    """
    fovs = torch.full_like(azimuth, fov)
    distance = half_frame / torch.tan(torch.deg2rad(fovs) / 2)
    return Cameras(azimuth, elevation, distance, fovs, azimuth.new_zeros(len(azimuth), 3))


def training_cameras(count: int, rng: np.random.Generator) -> Cameras:
    """The random cameras of the training pictures: all around, from -10 to 50 degrees, more often from 0 to 30."""
    azimuth = rng.uniform(0, 360, count)
    elevation = np.where(rng.random(count) < 0.75, rng.uniform(-10, 50, count), rng.uniform(0, 30, count))
    fov = rng.uniform(35, 50, count)
    distance = rng.uniform(0.68, 0.86, count) / np.tan(np.deg2rad(fov) / 2)
    target = rng.uniform(-0.03, 0.03, (count, 3))
    return Cameras(*(torch.from_numpy(v).float() for v in (azimuth, elevation, distance, fov, target)))


def sample_surface(instance: Instance, density: float = POINTS_PER_AREA) -> Surface:
    """Points spread evenly over an instance, `density` per square unit (`spread_points`)."""
    positions, normals, faces = spread_points(instance.vertices, instance.faces, density)
    coefficients = instance.coefficients(positions, faces)
    centred = positions - np.array([0.0, 0.0, instance.vertices[:, 2].max() / 2])
    fields = (centred, normals, coefficients, palette(instance.subject))
    return Surface(*(torch.from_numpy(np.ascontiguousarray(field)).float() for field in fields))


def spread_points(
    vertices: np.ndarray, faces: np.ndarray, density: float = POINTS_PER_AREA
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spreads points evenly over a mesh: positions (N, 3), unit normals (N, 3), and the faces (N,) they lie on.

    The points are a low-discrepancy sequence (Roberts' R2 inside the triangles, equal steps over their areas), so they
    leave smaller gaps than random ones and need no seed.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        density: points per square unit.
    """
    # Long thin triangles would stretch the sequence into stripes.
    vertices, faces, origin = trimesh.remesh.subdivide_to_size(
        vertices.astype(np.float64), faces, max_edge=0.08, max_iter=20, return_index=True
    )
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled_area = np.linalg.norm(cross, axis=1)
    cumulative = np.cumsum(doubled_area)
    count = math.ceil(density * cumulative[-1] / 2)
    index = np.arange(count)
    face = np.searchsorted(cumulative, (index + 0.5) * cumulative[-1] / count).clip(max=len(corners) - 1)
    u, v = (index * 0.7548776662466927) % 1.0, (index * 0.5698402909980532) % 1.0
    outside = u + v > 1
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    weights = np.stack([1 - u - v, u, v], axis=1)[:, :, None]
    positions = (corners[face] * weights).sum(axis=1)
    return positions, cross[face] / doubled_area[face, None], origin[face]


@dataclass(frozen=True)
class Light:
    """A soft light for each of B pictures.

    Attributes:
        direction: (B, 3) unit vectors towards it.
        ambient: (B,) brightness of a surface that faces away from it, 0...1; 1 shows the bare albedo.
    """

    direction: Tensor
    ambient: Tensor

    def to(self, device: torch.device | str) -> Light:
        """The same light on another device."""
        return Light(self.direction.to(device), self.ambient.to(device))


def render_layers(surface: Surface, cameras: Cameras, size: int = 64, light: Light | None = None) -> Tensor:
    """Draws one subject from many cameras, without deciding on its colours.

    Args:
        surface: its points, from `sample_surface`.
        cameras: B cameras.
        size: height and width of the pictures in pixels.
        light: one for each of the B pictures, or None for the bare albedo.

    Returns:
        (B, size, size, 8) float32 in 0...1: the seven coefficients of the colour (`Instance.coefficients`), shaded and
        premultiplied by the opacity, which is the last channel. `colour_layers` colours them.
    """
    fine = size * SUPERSAMPLING
    columns, rows, depth, facing = _project(surface, cameras, fine)
    batch, count = depth.shape
    # A pixel's nearest point has the smallest key: the depth is in its upper 32 bits, the point's index in the lower.
    keys = ((depth * (_DEPTH_STEPS / 16.0)).long() << 32) | torch.arange(count, device=depth.device)
    left, top = torch.round(columns).long() - _SPLAT // 2, torch.round(rows).long() - _SPLAT // 2
    nothing = torch.iinfo(torch.int64).max
    buffer = torch.full((batch * fine * fine + 1,), nothing, dtype=torch.int64, device=depth.device)
    image = torch.arange(batch, device=depth.device)[:, None] * fine * fine
    drawn = facing & (left > -_SPLAT) & (left < fine) & (top > -_SPLAT) & (top < fine)
    image, left, top, keys = image.expand_as(keys)[drawn], left[drawn], top[drawn], keys[drawn]
    for shift_y in range(_SPLAT):
        for shift_x in range(_SPLAT):
            x, y = left + shift_x, top + shift_y
            inside = (x >= 0) & (x < fine) & (y >= 0) & (y < fine)
            pixel = torch.where(inside, image + y * fine + x, batch * fine * fine)
            buffer.scatter_reduce_(0, pixel, keys, "amin")
    buffer = _close_gaps(buffer[:-1].reshape(batch, fine, fine), nothing).reshape(batch, fine * fine)
    hit = buffer != nothing
    point = torch.where(hit, buffer & 0xFFFFFFFF, 0)
    shades = surface.coefficients[point]
    if light is not None:
        lambert = (surface.normals[point] * light.direction[:, None]).sum(dim=-1).clamp(min=0)
        ambient = light.ambient[:, None]
        shades = shades * (ambient + (1 - ambient) * lambert)[..., None]
    layers = torch.cat([shades, torch.ones_like(shades[..., :1])], dim=-1) * hit[..., None]
    blocks = layers.reshape(batch, size, SUPERSAMPLING, size, SUPERSAMPLING, layers.shape[-1])
    return blocks.mean(dim=(2, 4))


def colour_layers(layers: Tensor, palettes: Tensor) -> Tensor:
    """(B, H, W, 4) premultiplied pictures from layers (B, H, W, 8) and palettes (B or 1, 7, 3); all in 0...1."""
    batch, height, width, _ = layers.shape
    rgb = layers[..., :7].reshape(batch, height * width, 7) @ palettes
    return torch.cat([rgb.reshape(batch, height, width, 3), layers[..., 7:]], dim=-1)


def render(surface: Surface, cameras: Cameras, size: int = 64, light: Light | None = None) -> Tensor:
    """`render_layers` in the surface's own colours: (B, size, size, 4) in 0...1, premultiplied by channel 3."""
    return colour_layers(render_layers(surface, cameras, size, light), surface.palette[None])


def composite(pictures: Tensor, background: Tensor) -> Tensor:
    """Lays premultiplied pictures (B, H, W, 4) over backgrounds that broadcast to (B, H, W, 3); all in 0...1."""
    return pictures[..., :3] + (1 - pictures[..., 3:]) * background


def random_light(cameras: Cameras, rng: np.random.Generator) -> Light:
    """Random lights near the camera or above it, strong or weak; about half of the pictures show the bare albedo."""
    count = len(cameras)
    jitter = torch.from_numpy(rng.normal(0, 0.5, (count, 3))).float()
    above = torch.tensor([0.0, 0.0, 0.6])
    ambient = np.where(rng.random(count) < 0.5, 1.0, rng.uniform(0.45, 0.8, count))
    direction = torch.nn.functional.normalize(cameras.toward_eye() + jitter + above, dim=-1)
    return Light(direction, torch.from_numpy(ambient).float())


def _close_gaps(keys: Tensor, nothing: int) -> Tensor:
    """Fills gaps between points: empty pixels of a (B, H, W) z-buffer with at least three filled neighbours of four."""
    padded = torch.nn.functional.pad(keys, (1, 1, 1, 1), value=nothing)
    around = torch.stack([padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]])
    gap = (keys == nothing) & ((around != nothing).sum(dim=0) >= 3)
    return torch.where(gap, around.amin(dim=0), keys)


def _project(surface: Surface, cameras: Cameras, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Columns, rows (in pixels; a pixel's centre lies at +0.5), depths and which points face the camera: (B, N)."""
    right, up, forward = cameras.axes()
    eye = cameras.positions()
    focal = size / 2 / torch.tan(torch.deg2rad(cameras.fov) / 2)
    points, normals = surface.positions, surface.normals
    depth = forward @ points.T - (forward * eye).sum(-1, keepdim=True)
    scale = focal[:, None] / depth
    columns = size / 2 + (right @ points.T - (right * eye).sum(-1, keepdim=True)) * scale
    rows = size / 2 - (up @ points.T - (up * eye).sum(-1, keepdim=True)) * scale
    facing = (eye @ normals.T - (points * normals).sum(-1)[None]) > 0
    return columns, rows, depth, facing
