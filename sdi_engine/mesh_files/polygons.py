"""Polygons as triangles, such that concave ones keep their outline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Point = Sequence[float]


def triangulated(
    vertices: NDArray[np.floating], counts: NDArray[np.integer], corners: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Triangles of many polygons, in their order.

    Args:
        vertices: (V, 3).
        counts: (P,), how many corners each polygon has; those with fewer than three give no triangles.
        corners: (counts.sum(),), the polygons' vertices, one polygon after the other; existing ones.

    Returns:
        For each triangle its three places in `corners`, (F, 3), and which polygon it is of, (F,).
    """
    counts = np.asarray(counts, np.int64)
    first = np.cumsum(counts) - counts
    triangles, polygon = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for count in np.unique(counts[counts >= 3]):
        which = np.flatnonzero(counts == count)
        step = np.arange(1, count - 1)
        fan = np.stack([np.zeros_like(step), step, step + 1], axis=1)
        local = np.broadcast_to(fan, (len(which), *fan.shape)).copy()
        if count > 3:
            points = np.asarray(vertices, np.float64)[corners[first[which, None] + np.arange(count)]]
            for index in np.flatnonzero(_is_concave(points)):
                local[index] = cut(points[index]) or fan
        triangles.append((first[which, None, None] + local).reshape(-1, 3))
        polygon.append(np.repeat(which, count - 2))
    all_polygons = np.concatenate(polygon)
    order = np.argsort(all_polygons, kind="stable")
    return np.concatenate(triangles)[order], all_polygons[order]


def cut(points: Sequence[_Point]) -> list[tuple[int, int, int]] | None:
    """Triangles of a simple polygon (n, 3) in space, which is nearly flat; None where a fan from the first corner
    does."""
    flat = _seen_along_normal(points)
    if all(_turn(flat[0], flat[i], flat[i + 1]) >= 0.0 for i in range(1, len(flat) - 1)):
        return None
    return _ears(flat)


def of_strip(vertices: NDArray[np.integer]) -> NDArray[np.int64]:
    """The triangles (F, 3) of a strip, all turned as the first is, without those that only lead on."""
    steps = np.arange(max(0, len(vertices) - 2))
    odd = steps % 2
    triangles = np.stack([vertices[steps], vertices[steps + 1 + odd], vertices[steps + 2 - odd]], axis=1)
    return _with_corners(triangles)


def of_fan(vertices: NDArray[np.integer]) -> NDArray[np.int64]:
    """The triangles (F, 3) of a fan around its first vertex."""
    steps = np.arange(1, max(1, len(vertices) - 1))
    return _with_corners(np.stack([vertices[np.zeros_like(steps)], vertices[steps], vertices[steps + 1]], axis=1))


def _with_corners(triangles: NDArray[np.integer]) -> NDArray[np.int64]:
    a, b, c = triangles.T
    return triangles[(a != b) & (b != c) & (c != a)].astype(np.int64)


def _is_concave(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which polygons (P, n, 3) have a triangle, in a fan from the first corner, that is turned over."""
    with np.errstate(all="ignore"):  # what is too large, or NaN, is refused later
        spokes = points[:, 1:] - points[:, :1]
        turns = np.cross(spokes[:, :-1], spokes[:, 1:])
        return (np.einsum("pik,pk->pi", turns, turns.sum(axis=1)) < 0.0).any(axis=1)


def _seen_along_normal(points: Sequence[_Point]) -> list[tuple[float, float]]:
    """The corners (x, y) of a polygon in space, seen along the axis nearest to its normal, counter-clockwise."""
    normal = [0.0, 0.0, 0.0]
    for here, there in zip(points, [*points[1:], points[0]], strict=True):
        for axis in range(3):  # Newell's method
            a, b = (axis + 1) % 3, (axis + 2) % 3
            normal[axis] += (here[a] - there[a]) * (here[b] + there[b])
    axis = max(range(3), key=lambda each: abs(normal[each]))
    sign = 1.0 if normal[axis] > 0.0 else -1.0
    centre = [sum(values) / len(points) for values in zip(*points, strict=True)]
    a, b = (axis + 1) % 3, (axis + 2) % 3
    return [(point[a] - centre[a], sign * (point[b] - centre[b])) for point in points]


def _turn(a: _Point, b: _Point, c: _Point) -> Any:
    """Twice the area of a triangle, positive where it is counter-clockwise; of many where coordinates are arrays."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _ears(flat: Sequence[_Point]) -> list[tuple[int, int, int]]:
    """Triangles of a simple polygon, by cutting off ears; of a polygon that has none left, a fan."""
    points, left = np.array(flat, np.float64), list(range(len(flat)))
    no_ears: set[int] = set()  # what is none stays so until a corner beside it is cut off, for the polygon gets smaller
    triangles = []
    with np.errstate(all="ignore"):  # what is too large, or NaN, is refused later
        while len(left) > 3:
            at = _first_ear(flat, points, left, no_ears)
            if at is None and no_ears:  # but for one that only touched what was cut off
                no_ears.clear()
                at = _first_ear(flat, points, left, no_ears)
            at = 1 if at is None else at
            ear = (left[at - 1], left[at], left[(at + 1) % len(left)])
            triangles.append(ear)
            no_ears -= {*ear}
            del left[at]
    return [*triangles, tuple(left)]


def _first_ear(
    flat: Sequence[_Point], points: NDArray[np.float64], left: Sequence[int], no_ears: set[int]
) -> int | None:
    """The place in `left` of the first corner that can be cut off; those before it are added to `no_ears`.

    Args:
        flat: all corners of the polygon.
        points: the same, (n, 2).
        left: the numbers of those that are not cut off yet.
        no_ears: the numbers of those that are known to be none.
    """
    ring = points[left].T
    for at, corner in enumerate(left):
        if corner in no_ears:
            continue
        a, b, c = flat[left[at - 1]], flat[corner], flat[left[(at + 1) % len(left)]]
        if _turn(a, b, c) > 0.0:
            inside = (_turn(a, b, ring) >= 0.0) & (_turn(b, c, ring) >= 0.0) & (_turn(c, a, ring) >= 0.0)
            # its own corners, too, and where the polygon touches itself, it has one twice
            if all(flat[left[i]] in (a, b, c) for i in inside.nonzero()[0]):
                return at
        no_ears.add(corner)
    return None
