"""The UV map that a texture is painted on: the mesh's own, if it can hold one, or else a new one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from ..errors import BadInputError
from ..mesh.charts import WIDEST
from ..mesh.texels import texel_coordinates
from ..mesh.topology import connected
from ..mesh.unwrap import unwrap
from .islands import islands_of, shared_edges
from .normals import doubled_areas
from .own_map import udim_tiles, why_unfit
from .projected_map import projected_map
from .source import Place, SourceMesh
from .texels import claims

PADDING = 4
"""Pixels between the charts of a new map; half as many at the texture's border, beyond which it repeats."""

MOST_FOR_UNWRAP = 100_000
"""Triangles: with more of them `unwrap` would take minutes, and `projected_map` takes seconds."""

_CHECKED_SIZE = 512
"""Width of the picture on which overlaps are looked for."""

_FOLDED = 2.0 * WIDEST**2 - 1.0
"""Cosine between the normals of two triangles that are turned so far against each other that no chart has both."""

SAME_SHAPE = 1e-4
"""Of a mesh's size: shapes whose vertices differ by less are the same one."""

SAME_PLACE = 0.01
"""Points of the surface that are closer than this do not count as overlapping; scene units, and a mesh is about 1."""


@dataclass(frozen=True)
class UvMap:
    """Attributes:
    uv: (F, 3, 2) of every corner in the source's order; finite, v = 0 at the bottom. Outside 0…1 the texture repeats.
    rank: (F,), which triangle has a texel that several claim: that with the lowest.
    is_new: whether it was made here, and the source has another or none.
    overlap: share of the covered texels that more than one place of the surface claims.
    notices: what a person should know of it, a sentence each.
    """

    uv: NDArray[np.float32]
    rank: NDArray[np.int64]
    is_new: bool
    overlap: float
    notices: tuple[str, ...]


def uv_map_for(source: SourceMesh, place: Place, texture_size: int) -> UvMap:
    """The source's own map or, with a notice, a new one.

    Raises:
        BadInputError: the map is spread over UDIM tiles.
    """
    reason = "The mesh has no UV map"
    if source.uv is not None:
        reason = why_unfit(source.uv, source.vertices[source.faces])
        tiles = udim_tiles(source.uv, source.vertices[source.faces])
        if tiles > 1:
            raise BadInputError(
                f"The UV map lies in {tiles} UDIM tiles, and only one can be painted: pack its islands into one tile, "
                "or remove the UV map to have a new one made."
            )
    if reason:
        uv = new_map(source, place, texture_size)
        notice = f"{reason}, so a new one was made."
        return UvMap(uv, np.zeros(len(uv), np.int64), is_new=True, overlap=0.0, notices=(notice,))
    uv = source.uv.astype(np.float64)
    uv = (uv - np.floor(uv.reshape(-1, 2).mean(axis=0))).astype(np.float32)
    notices = []
    if uv.min() < -1e-3 or uv.max() > 1.0 + 1e-3:
        notices.append("The UV map reaches outside its square, where the texture repeats: what is there repeats, too.")
    overlap = overlap_of(uv, place.normalised(source.vertices)[source.faces], SAME_PLACE)
    rank = (~source.painted_faces).astype(np.int64) * len(uv)
    if overlap > 0.005:
        rank += _front_first(source, place, uv)
        notices.append(
            f"{overlap:.0%} of the UV map is used by more than one part of the surface (overlapping or mirrored): such "
            "parts show the same picture, that of the part in front."
        )
    return UvMap(uv, rank, is_new=False, overlap=overlap, notices=tuple(notices))


def new_map(source: SourceMesh, place: Place, texture_size: int) -> NDArray[np.float32]:
    """UV coordinates (F, 3, 2) in 0…1 of a new map for a mesh, in the order of its faces.

    Objects that share a mesh, and stand elsewhere, turned or evenly scaled, get the very same one: they can share it.
    """
    vertices = _before_its_place(source)
    if vertices is None:
        vertices = place.normalised(source.vertices)
    if len(source.faces) > MOST_FOR_UNWRAP:
        uv = projected_map(vertices, source.faces, texture_size, PADDING)
    else:
        mesh = unwrap(_hanging_together(vertices, source.faces), texture_size, PADDING)
        if not np.array_equal(mesh.vertices[mesh.faces], vertices[source.faces]):
            raise RuntimeError("unwrapping has changed the order of the triangles")
        uv = mesh.uv[mesh.faces]
    margin = PADDING / 2.0 / texture_size
    return (margin + np.nan_to_num(uv) * (1.0 - 2.0 * margin)).astype(np.float32)


def _before_its_place(source: SourceMesh) -> NDArray[np.float32] | None:
    """The vertices as the object's own mesh has them, in scene units; None where they are unknown, or of another shape
    than what stands in the scene, as with uneven scaling or modifiers."""
    if source.rest is None or not np.isfinite(source.rest).all():
        return None
    used = np.unique(source.faces)
    before, after = (each[used].astype(np.float64) for each in (source.rest, source.vertices))
    before, after = before - before.mean(axis=0), after - after.mean(axis=0)
    u, _, v = np.linalg.svd(before.T @ after)
    turn = u @ v
    scale = np.linalg.norm(after) / max(np.linalg.norm(before), 1e-300)
    off_by = np.abs(scale * before @ turn - after).max() / np.abs(after).max()
    if off_by > SAME_SHAPE or np.linalg.det(turn) < 0.0:
        return None
    try:
        return SourceMesh(source.rest, source.faces).place().normalised(source.rest)
    except BadInputError:  # far from its origin
        return None


def _hanging_together(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> trimesh.Trimesh:
    """The same triangles with one vertex for all corners that meet at a place across the edges between them.

    So there is no seam where the source's maker has split vertices, and the two sides of a sheet, which meet at its
    border, do not keep the triangles of either side from their neighbours.
    """
    edges = shared_edges(vertices, faces)
    normals = doubled_areas(vertices, faces)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-300)
    one, other = normals[edges.face].swapaxes(0, 1)
    edges = edges[((one * other).sum(axis=1) > _FOLDED) | edges.disagree]
    corner = 3 * edges.face
    _, fan = connected(np.concatenate([corner + edges.begin, corner + edges.end]), faces.size)
    _, first = np.unique(fan, return_index=True)
    return trimesh.Trimesh(vertices[faces.ravel()[first]], fan.reshape(-1, 3), process=False, validate=False)


def overlap_of(uv: NDArray[np.float32], corners: NDArray[np.float32], apart: float) -> float:
    """Share of the covered texels that different places claim, of a small picture.

    Args:
        uv: (F, 3, 2), finite.
        corners: (F, 3, 3), the triangles' corners in space.
        apart: places further than this from each other are different.
    """
    pixels = texel_coordinates(uv, _CHECKED_SIZE)
    low = np.full((_CHECKED_SIZE**2, 3), np.inf, np.float32)
    high = -low
    middle = corners.mean(axis=1)
    flat_middle = pixels.mean(axis=1)
    # the place of a texel in its triangle, by the triangle's own affine map
    a, b = pixels[:, 1] - pixels[:, 0], pixels[:, 2] - pixels[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    area = np.where(np.abs(area) > 1e-9, area, 1.0)
    along, across = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    by_column = (b[:, 1, None] * along - a[:, 1, None] * across) / area[:, None]
    by_row = (a[:, 0, None] * across - b[:, 0, None] * along) / area[:, None]
    for face, column, row in claims(pixels, np.arange(len(uv))):
        index = row % _CHECKED_SIZE * _CHECKED_SIZE + column % _CHECKED_SIZE
        offset = np.stack([column, row], axis=1) - flat_middle[face]
        position = middle[face] + by_column[face] * offset[:, :1] + by_row[face] * offset[:, 1:]
        np.minimum.at(low, index, position.astype(np.float32))
        np.maximum.at(high, index, position.astype(np.float32))
    covered = np.isfinite(low[:, 0])
    spread = np.linalg.norm(high[covered] - low[covered], axis=1)
    return float((spread > apart).mean()) if covered.any() else 0.0


def _front_first(source: SourceMesh, place: Place, uv: NDArray[np.float32]) -> NDArray[np.int64]:
    """(F,), the rank of each triangle's island: those that face the front come first, as a whole, so that a texture
    is not patched together of two pictures."""
    island = islands_of(uv, shared_edges(source.vertices, source.faces))
    corners = place.normalised(source.vertices)[source.faces].astype(np.float64)
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(doubled, axis=1)
    whole = np.bincount(island, area).clip(1e-30)
    depth = np.bincount(island, corners.mean(axis=1)[:, 1] * area) / whole
    order = np.argsort(np.round(depth, 3), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[island]
