"""Several meshes, each with its own UV coordinates and look, as one mesh with one UV map and one look."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadInputError
from ..surface.look import REPEAT, UNKNOWN, sampled
from ..surface.own_map import MAX_TILES, areas_on
from ..surface.source import SourceMesh, checked
from ..surface.texels import filled, texels_of
from ..surface.uv_map import new_map, overlap_of
from .looks import MAX_PICTURE_EDGE, PartLook, linear_of, shown_by, srgb_of
from .named_pictures import moved
from .parts import Part

MAX_CELLS = 16
"""Pictures that share a map side by side; more of them would have too little room."""

CELL_MARGIN = 0.02
"""Share of a cell that is left free on each side."""

NEW_MAP_SIZE = 1024
"""Pixels across for which the new map of parts without one is made, with the distance between charts that suits it."""

SAME_TINT = 0.05
"""Colours by which a picture is multiplied are taken for the same if they differ by no more."""

_NEW = -1


def joined(parts: Sequence[Part]) -> tuple[SourceMesh, tuple[str, ...]]:
    """All parts as one mesh, in their order, and what a person should know of it, a sentence each.

    UV coordinates are kept where those of different parts do not lie on top of each other, or the parts show the same
    picture, and no picture is clamped or mirrored. Else every picture gets a square of a common map, as do all parts
    without UV coordinates beside others that show a picture; without pictures, or with many, the mesh has no map.
    Where places of a part share its picture in different tints, it is given a new map.
    """
    pictures = shown_by([part.look for part in parts])
    uv, notices = _common_map(parts, pictures)
    mesh = replace(_geometry(parts), uv=uv)
    if not any(part.look.is_known for part in parts):
        return mesh, notices
    if uv is None or all(part.look.picture is None for part in parts):
        return replace(mesh, look_corners=np.concatenate([_corner_colours(part) for part in parts])), notices
    if len(set(pictures)) == 1 and parts[0].look.is_as_mapped:
        return replace(mesh, look=_square(parts[0].look.picture)), notices
    return replace(mesh, look=_redrawn(parts, len(set(pictures)), mesh)), notices


def _geometry(parts: Sequence[Part]) -> SourceMesh:
    """All parts as one mesh without a map."""
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)]).astype(np.int32)
    return SourceMesh(vertices, faces)


def _common_map(
    parts: Sequence[Part], pictures: Sequence[Hashable]
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """UV coordinates (F, 3, 2) of all parts, None if they have none together, and what is to be said of it.

    Args:
        pictures: what each part shows, as of `shown_by`.
    """
    crowded = [_has_several_tints(part) for part in parts]
    have = [part.uv is not None and not each for part, each in zip(parts, crowded, strict=True)]
    if not any(have) and not any(crowded):
        return None, ()
    shown = [
        (index if picture is None else picture) if has_map else _NEW
        for index, (picture, has_map) in enumerate(zip(pictures, have, strict=True))
    ]
    groups = {name: number for number, name in enumerate(dict.fromkeys(shown))}
    group = [groups[name] for name in shown]
    has_cells = len(groups) <= MAX_CELLS and any(part.look.picture is not None for part in parts)
    if not all(have):
        mapped = [part if has_map else replace(part, uv=None) for part, has_map in zip(parts, have, strict=True)]
        completed = _with_new_map(mapped) if has_cells else None
        if completed is None:
            return None, ("Some parts of the mesh have no UV map.",)
        notice = "Some parts of the mesh have no UV map: they were given one, and all maps were put side by side."
        if any(crowded):
            notice = (
                "The file has colours of vertices over a picture that several places of the surface share: these were "
                "given a new UV map."
            )
        return _side_by_side(completed, group), (notice,)
    uv = np.concatenate([part.uv for part in parts]).astype(np.float32)
    is_beyond = any(_is_beyond(part.look) for part in parts)
    if not is_beyond and (len(groups) == 1 or not _overlap(uv, parts, group)):
        return uv, ()
    if not has_cells:
        return None, (f"The UV maps of the mesh's {len(groups)} parts lie on top of each other.",)
    if len(groups) == 1:
        notice = "The UV map reaches outside its square, where the picture is clamped or mirrored; it was made smaller."
        return _side_by_side(parts, group), (notice,)
    notice = f"The UV maps of the mesh's {len(groups)} parts lay on top of each other; they were put side by side."
    return _side_by_side(parts, group), (notice,)


def _with_new_map(parts: Sequence[Part]) -> list[Part] | None:
    """The same parts, those without UV coordinates on a new map, which they share; None if none can be made."""
    without = [part for part in parts if part.uv is None]
    try:
        source = checked(_geometry(without))
        uv = new_map(source, source.place(), NEW_MAP_SIZE)
    except BadInputError:  # it has no surface, or numbers that the whole is refused for
        return None
    own = iter(np.split(uv, np.cumsum([len(part.faces) for part in without])[:-1]))
    return [replace(part, uv=next(own)) if part.uv is None else part for part in parts]


def _overlap(uv: NDArray[np.float32], parts: Sequence[Part], group: Sequence[int]) -> bool:
    """Whether the UV coordinates of different groups lie on top of each other, or it cannot be told."""
    if not np.isfinite(uv).all() or uv.min() < -1e-3 or uv.max() > 1.001:
        return True
    number = np.repeat(np.array(group, np.float32), [len(part.faces) for part in parts])
    # "places" that are apart for different groups, and only for those
    return overlap_of(uv, np.broadcast_to(number[:, None, None], (len(uv), 3, 3)), apart=0.5) > 0.005


def _side_by_side(parts: Sequence[Part], group: Sequence[int]) -> NDArray[np.float32]:
    """UV coordinates (F, 3, 2) with a square for each group."""
    across = math.ceil(math.sqrt(max(group) + 1))
    lows, highs = np.zeros((max(group) + 1, 2)), np.ones((max(group) + 1, 2))
    for part, number in zip(parts, group, strict=True):
        corners = part.uv.reshape(-1, 2)
        corners = corners[np.isfinite(corners).all(axis=1)]
        lows[number] = np.minimum(lows[number], corners.min(axis=0, initial=0.0))
        highs[number] = np.maximum(highs[number], corners.max(axis=0, initial=1.0))
    placed: list[NDArray[np.float64]] = []
    for part, number in zip(parts, group, strict=True):
        size = (highs[number] - lows[number]).max()
        inner = CELL_MARGIN + (part.uv - lows[number]) / size * (1.0 - 2.0 * CELL_MARGIN)
        placed.append((inner + np.array([number % across, number // across])) / across)
    return np.concatenate(placed).astype(np.float32)


def _redrawn(parts: Sequence[Part], pictures: int, mesh: SourceMesh) -> NDArray[np.uint8]:
    """The looks of all parts, with so many pictures, as one picture (n, n, 3) on the mesh's UV map."""
    edges = [max(part.look.picture.shape[:2]) * _finer(part) for part in parts if part.look.picture is not None]
    size = min(MAX_PICTURE_EDGE, 2 ** math.ceil(math.log2(max(64, *edges) * math.sqrt(pictures))))
    uv = np.nan_to_num(mesh.uv)
    texels = texels_of(uv, size, np.zeros(len(uv), np.int64), mesh.vertices[mesh.faces])
    colours = np.zeros((len(texels), 3), np.float32)
    by_face = np.argsort(texels.face, kind="stable")
    faces = texels.face[by_face]
    first = 0
    for part in parts:
        ours = by_face[slice(*np.searchsorted(faces, (first, first + len(part.faces))))]
        face, weights = texels.face[ours] - first, texels.barycentric[ours]
        if part.look.picture is not None:
            at = moved(np.einsum("tk,tkc->tc", weights, np.nan_to_num(part.uv)[face]), part.look.move)
            shown = _picture_at(part.look, at)
            if part.look.tint is not None:
                shown = _tinted(shown, np.einsum("tk,tkc->tc", weights, part.look.tint[face]))
            colours[ours] = shown * 255.0
        else:
            colours[ours] = np.einsum("tk,tkc->tc", weights, _corner_colours(part)[face].astype(np.float32))
        first += len(part.faces)
    return (filled(texels, colours).clip(0.0, 255.0) + 0.5).astype(np.uint8)


def _finer(part: Part) -> float:
    """By how much a part's picture is smaller than the part's square of the common map."""
    if _is_beyond(part.look):
        return max(1.0, float(np.ptp(np.nan_to_num(part.uv.reshape(-1, 2)), axis=0).max()))
    return 1.0 if part.look.move is None else float(np.linalg.norm(part.look.move[:, :2], 2))


def _is_beyond(look: PartLook) -> bool:
    """Whether it shows on the part's own map what no texture that repeats can show there."""
    return look.move is None and look.wrap != REPEAT


def _corner_colours(part: Part) -> NDArray[np.uint8]:
    """(F, 3, 3), sRGB."""
    if part.look.corners is not None:
        return part.look.corners
    if part.look.picture is None or part.uv is None:
        return np.full((len(part.faces), 3, 3), round(255 * UNKNOWN), np.uint8)
    colours = _picture_at(part.look, moved(np.nan_to_num(part.uv.reshape(-1, 2)), part.look.move))
    if part.look.tint is not None:
        colours = _tinted(colours, part.look.tint.reshape(-1, 3))
    return (colours.reshape(-1, 3, 3) * 255.0 + 0.5).clip(0, 255).astype(np.uint8)


def _picture_at(look: PartLook, places: NDArray[np.floating]) -> NDArray[np.floating]:
    """The colours (N, 3) in 0…1 of a picture at places (N, 2) in it or beyond its edges."""
    picture = look.picture if look.picture.flags.writeable else np.array(look.picture)  # as torch wants it
    return sampled(torch.from_numpy(picture), torch.from_numpy(places), look.wrap).numpy()


def _tinted(colours: NDArray[np.floating], tint: NDArray[np.floating]) -> NDArray[np.floating]:
    """sRGB colours multiplied by linear ones."""
    return srgb_of(linear_of(colours) * tint)


def _has_several_tints(part: Part) -> bool:
    """Whether places of a part's surface that share a place of its picture multiply it by different colours."""
    if part.look.tint is None or part.uv is None or not np.isfinite(part.uv).all():
        return False
    if areas_on(part.uv).sum() > MAX_TILES:
        return True
    return overlap_of(part.uv.astype(np.float32), part.look.tint, SAME_TINT) > 0.005


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture (n, n, 3), its shorter side stretched."""
    height, width, _ = picture.shape
    if height == width:
        return picture
    n = max(height, width)
    return np.asarray(Image.fromarray(picture).resize((n, n), Image.Resampling.BICUBIC))
