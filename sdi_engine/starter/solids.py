"""Closed triangle meshes of simple shapes, from which `world` builds its things. Numpy only.

Every function returns a `Solid` whose triangles wind counter-clockwise seen from outside. Lengths are in the builder's
own units; `world` scales the finished thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SEGMENTS = 40
"""Corners per circle in `lathe` and `tube`."""


@dataclass(frozen=True)
class Solid:
    """A closed mesh: vertices (V, 3) float64 and faces (F, 3) int64."""

    vertices: np.ndarray
    faces: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """The solid, translated."""
        return Solid(self.vertices + np.array([x, y, z]), self.faces)

    def scaled(self, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> Solid:
        """The solid, scaled about the origin by positive factors."""
        return Solid(self.vertices * np.array([x, y, z]), self.faces)

    def turned(self, axis: str, degrees: float) -> Solid:
        """The solid, rotated counter-clockwise about the "x", "y" or "z" axis."""
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        vertices = self.vertices.copy()
        vertices[:, first] = cosine * self.vertices[:, first] - sine * self.vertices[:, second]
        vertices[:, second] = sine * self.vertices[:, first] + cosine * self.vertices[:, second]
        return Solid(vertices, self.faces)


def box(width: float, depth: float, height: float, top: float = 1.0) -> Solid:
    """A box along x, y and z, centred in x and y, standing on z = 0; `top` scales its upper face."""
    x, y = width / 2, depth / 2
    base = np.array([(-x, -y), (x, -y), (x, y), (-x, y)])
    return _closed_stack(np.stack([base, base * top]), np.array([0.0, height]))


def prism(outline: Sequence[tuple[float, float]], depth: float) -> Solid:
    """A convex outline of (x, z) points, counter-clockwise seen from the front (-Y), extruded along y, centred."""
    points = np.asarray(outline, dtype=float)
    solid = _closed_stack(np.stack([points, points]), np.array([-depth / 2, depth / 2]))
    # The stack lies in (x, y) and rises along z. Turning it upright sends (x, y, z) to (x, -z, y).
    return solid.turned("x", 90.0)


def slab(outline: Sequence[tuple[float, float]], height: float, top: float = 1.0) -> Solid:
    """A convex outline of (x, y) points, counter-clockwise seen from above, extruded upwards; `top` scales its end."""
    points = np.asarray(outline, dtype=float)
    return _closed_stack(np.stack([points, points * top]), np.array([0.0, height]))


def lathe(profile: Sequence[tuple[float, float]]) -> Solid:
    """A surface of revolution about z of (radius, z) points that run from the lower end, outside, to the upper end.

    The profile may fold back inside (a cup), as long as the inside of the solid is on its left. Ends that lie off the
    axis are closed by flat discs.
    """
    points = list(profile)
    if points[0][0] > 0:
        points.insert(0, (0.0, points[0][1]))
    if points[-1][0] > 0:
        points.append((0.0, points[-1][1]))
    angles = np.arange(SEGMENTS) * 2 * np.pi / SEGMENTS
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = np.stack([circle * radius for radius, _ in points[1:-1]])
    centres = np.array([[0, 0, points[0][1]], [0, 0, points[-1][1]]], dtype=float)
    heights = np.array([z for _, z in points[1:-1]], dtype=float)
    vertices = np.concatenate([rings, np.broadcast_to(heights[:, None, None], (*rings.shape[:2], 1))], axis=2)
    return _closed_rings(vertices, centres)


def cylinder(radius: float, height: float, top: float = 1.0) -> Solid:
    """An upright cylinder on z = 0, or a frustum where `top` (the upper radius over the lower) is not 1."""
    return lathe([(radius, 0.0), (radius * top, height)])


def cone(radius: float, height: float) -> Solid:
    """An upright cone on z = 0."""
    return lathe([(radius, 0.0), (0.0, height)])


def ellipsoid(x: float, y: float | None = None, z: float | None = None) -> Solid:
    """An ellipsoid about the origin with the given half axes; missing ones equal the first (a ball)."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 21)
    profile = [(float(np.cos(a)), float(np.sin(a))) for a in angles]
    profile[0], profile[-1] = (0.0, -1.0), (0.0, 1.0)
    return lathe(profile).scaled(x, x if y is None else y, x if z is None else z)


def cushion(width: float, depth: float, height: float) -> Solid:
    """A box with well-rounded edges, centred in x and y, standing on z = 0."""
    ball = ellipsoid(1.0)
    reach = (np.abs(ball.vertices) ** 5).sum(axis=1, keepdims=True) ** (1 / 5)
    return Solid(ball.vertices / reach, ball.faces).scaled(width / 2, depth / 2, height / 2).moved(z=height / 2)


def tube(path: Sequence[tuple[float, float, float]], radius: float | Sequence[float]) -> Solid:
    """A round tube along (x, y, z) points that never run parallel to y; `radius` may vary from point to point."""
    points = np.asarray(path, dtype=float)
    radii = np.broadcast_to(np.asarray(radius, dtype=float), (len(points),))
    tangents = np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    side = np.cross(np.broadcast_to([0.0, 1.0, 0.0], points.shape), tangents)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(tangents, side)
    angles = np.arange(SEGMENTS) * 2 * np.pi / SEGMENTS
    offsets = np.cos(angles)[None, :, None] * side[:, None] + np.sin(angles)[None, :, None] * up[:, None]
    return _closed_rings(points[:, None] + radii[:, None, None] * offsets, points[[0, -1]])


def arc(
    centre: tuple[float, float], radius: tuple[float, float], start: float, end: float, points: int = 16
) -> list[tuple[float, float, float]]:
    """Points of an elliptic arc at y = 0: centre and radii in (x, z), angles in degrees from +x towards +z."""
    angles = np.deg2rad(np.linspace(start, end, points))
    return [(centre[0] + radius[0] * float(np.cos(a)), 0.0, centre[1] + radius[1] * float(np.sin(a))) for a in angles]


def _closed_stack(outlines: np.ndarray, heights: np.ndarray) -> Solid:
    """Convex outlines (N, K, 2), counter-clockwise seen from above, stacked at heights (N,) and closed at both ends."""
    rings = np.concatenate([outlines, np.broadcast_to(heights[:, None, None], (*outlines.shape[:2], 1))], axis=2)
    return _closed_rings(rings, np.stack([rings[0].mean(axis=0), rings[-1].mean(axis=0)]))


def _closed_rings(rings: np.ndarray, centres: np.ndarray) -> Solid:
    """Joins rings (N, K, 3), counter-clockwise about the direction they follow; centres (2, 3) close the ends."""
    count, corners, _ = rings.shape
    index = np.arange(count * corners).reshape(count, corners)
    here, there = index[:-1], index[1:]
    here_next, there_next = np.roll(here, -1, axis=1), np.roll(there, -1, axis=1)
    walls = [np.stack([here, here_next, there_next], -1), np.stack([here, there_next, there], -1)]
    bottom, top = count * corners, count * corners + 1
    first, last = index[0], index[-1]
    caps = [
        np.stack([np.full(corners, bottom), np.roll(first, -1), first], -1),
        np.stack([np.full(corners, top), last, np.roll(last, -1)], -1),
    ]
    faces = np.concatenate([part.reshape(-1, 3) for part in walls + caps])
    return Solid(np.concatenate([rings.reshape(-1, 3), centres]), faces)
