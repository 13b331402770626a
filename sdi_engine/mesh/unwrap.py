"""UV coordinates: few charts with little stretch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from ..system.occasions import occasion
from .charts import charts_of, split
from .flatten import flattened, projected
from .packing import pack
from .stretch import stretches
from .texels import texels

MOST_CUTS = 8
"""So often charts that cannot be laid flat are cut in two."""

LOOKED_AT = 96
OVER_ITSELF = 0.002
"""A chart, looked at in so many pixels across, lies over itself if more than this share of it is covered twice."""

AT_ONCE = 256
"""Charts that are looked at together, which takes some 100 MB."""

MOST_STRETCH = 1.5
"""A chart's L² stretch may be so much; most have less than 1.05."""

TYPICAL_FILL = 0.58
"""Share of a texture that packed charts cover, for which the distance between them is right."""


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


def unwrap(
    mesh: trimesh.Trimesh, texture_size: int, padding: int, together: NDArray[np.integer] | None = None
) -> UnwrappedMesh:
    """Few charts (`charts`), laid flat (`flatten`) and packed (`packing`) for a square texture.

    A chart that would lie over itself, or be stretched too far, is cut in two.

    Args:
        mesh: of any topology; every vertex belongs to a face.
        texture_size: height and width of the texture in pixels.
        padding: pixels between charts, about.
        together: (P, 2), pairs of neighbouring faces that no seam shall part.
    """
    chart = charts_of(mesh, together)
    vertices = np.asarray(mesh.vertices)
    flat_corners = np.zeros((len(mesh.faces), 3, 2))
    left = np.arange(len(mesh.faces))  # faces of charts that are not flat yet
    for cuts in range(MOST_CUTS + 1):
        occasion()
        _, of_left = np.unique(chart[left], return_inverse=True)
        source, faces = _split_along_seams(mesh.faces[left], of_left)
        flat, failed = _laid_flat(vertices[source], faces, of_left)
        flat_corners[left] = flat[faces]
        left = left[failed[of_left]]
        if cuts == MOST_CUTS or not len(left):
            break
        for each in np.unique(chart[left]):
            occasion()
            own = left[chart[left] == each]
            parts = split(mesh, own, together)
            chart[own] = np.where(parts == 0, each, chart.max() + parts)
    source, faces = _split_along_seams(mesh.faces, chart)
    flat = np.zeros((len(source), 2))
    flat[faces] = flat_corners
    packed, placed, uv = _packed(flat, faces, chart, texture_size, padding)
    source = source[packed]
    return UnwrappedMesh(
        vertices=vertices[source].astype(np.float32),
        normals=np.asarray(mesh.vertex_normals, dtype=np.float32)[source],
        faces=placed,
        uv=uv,
    )


def _split_along_seams(
    faces: NDArray[np.int64], chart: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The old number (V,) of each new vertex, of which every chart has its own, and the faces (F, 3) with these."""
    of_corners = np.stack([np.repeat(chart, 3), faces.reshape(-1)], axis=1)
    new, number = np.unique(of_corners, axis=0, return_inverse=True)
    return new[:, 1], number.reshape(-1, 3)


def _laid_flat(
    vertices: NDArray[np.floating], faces: NDArray[np.int64], chart: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The vertices (V, 2) in the plane, and which charts lie over themselves or are out of shape there.

    Conformal maps may fold where a chart winds around something; then it is looked at from one side.
    """
    corners = vertices[faces]

    def failed(flat: NDArray[np.float64]) -> NDArray[np.bool_]:
        return _over_themselves(flat[faces], chart) | _out_of_shape(corners, flat[faces], chart)

    flat = flattened(vertices, faces, chart)
    occasion()
    folded = failed(flat)
    if folded.any():
        occasion()
        from_one_side = projected(vertices, faces, chart)
        better = folded & ~failed(from_one_side)
        of_better = np.unique(faces[better[chart]])
        flat[of_better] = from_one_side[of_better]
        folded &= ~better
    return flat, folded


def _out_of_shape(
    corners: NDArray[np.float64], flat: NDArray[np.float64], chart: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which charts are stretched by more than `MOST_STRETCH`.

    Args:
        corners: (F, 3, 3), the faces on the surface.
        flat: (F, 3, 2), the same in the plane.
        chart: (F,).
    """
    area, area_flat, squared = stretches(corners, flat)
    of_chart = [np.bincount(chart, each) for each in (area, area_flat, squared * area)]
    return of_chart[2] * of_chart[1] > MOST_STRETCH**2 * of_chart[0] ** 2


def _over_themselves(corners: NDArray[np.float64], chart: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which charts cover some part of the plane twice, each looked at in a square of its own.

    Args:
        corners: (F, 3, 2), the faces in the plane, each chart around an origin of its own.
        chart: (F,).
    """
    count = int(chart.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart, corners.min(axis=1))
    np.maximum.at(high, chart, corners.max(axis=1))
    scale = 1.0 / (high - low).max(axis=1).clip(1e-30)
    in_square = (corners - low[chart, None]) * scale[chart, None, None] * 0.999
    over = np.zeros(count, dtype=bool)
    several = np.flatnonzero(np.bincount(chart, minlength=count) > 1)  # one triangle does not lie over itself
    by_chart = np.argsort(chart, kind="stable")
    for first in range(0, len(several), AT_ONCE):
        occasion()
        looked_at = several[first : first + AT_ONCE]
        own = by_chart[np.isin(chart[by_chart], looked_at)]
        over[looked_at] = _cover_twice(in_square[own], np.searchsorted(looked_at, chart[own]), len(looked_at))
    return over


def _cover_twice(corners: NDArray[np.float64], chart: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Which of so many charts, each in a square of its own of 0…1, cover some part of it twice."""
    across = int(np.ceil(np.sqrt(count)))
    square = np.stack([np.arange(count) % across, np.arange(count) // across], axis=1)
    size = across * LOOKED_AT
    face, row, column, _ = texels((corners + square[chart, None]) / across, size, tolerance=-1e-3)
    seen = np.bincount(chart[face], minlength=count)
    _, first, hits = np.unique(row * size + column, return_index=True, return_counts=True)
    twice = np.bincount(chart[face[first[hits > 1]]], minlength=count)
    return twice > OVER_ITSELF * seen


def _packed(
    flat: NDArray[np.float64], faces: NDArray[np.int64], chart: NDArray[np.int64], texture_size: int, padding: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each vertex its old number, the faces with the new ones, and the UVs in 0…1, as wide as high."""
    low = np.full((int(chart.max()) + 1, 2), np.inf)
    np.minimum.at(low, chart, flat[faces].min(axis=1))
    of_vertex = np.zeros(len(flat), dtype=np.int64)
    of_vertex[faces] = chart[:, None]
    corners = flat[faces]
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum() / 2.0
    scale = texture_size * np.sqrt(TYPICAL_FILL / area) if area > 0.0 else 1.0
    packed = pack(flat - low[of_vertex], faces, chart, padding, texels_per_unit=scale)
    sides = np.array(packed.size, dtype=np.float32)
    square = np.nan_to_num(packed.uv) * (sides / sides.max(initial=1.0))
    return packed.source, packed.faces, square.astype(np.float32)
