"""A look for the whole surface, written into every texel of a UV map."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..mesh.bake import ColoursAt
from ..mesh.eight_bit import eight_bit
from .look import Look
from .seams import seam_points, without_seams
from .source import Place, SourceMesh
from .texels import filled, texels_of
from .uv_map import UvMap


def bake(
    ask: ColoursAt,
    source: SourceMesh,
    place: Place,
    uv_map: UvMap,
    texture_size: int,
    device: torch.device,
    patch: int = 65_536,
) -> NDArray[np.uint8]:
    """A texture that shows at each texel the colour of the texel's own point, also of those that no camera saw.

    Triangles that are not painted keep their look of before. Both sides of a seam show the same (`seams`).

    Args:
        ask: asked without gradients, for `patch` texels at a time, with tensors on `device`; scene units.

    Returns:
        (texture_size, texture_size, 3), sRGB, row 0 at the top (v = 1). Texels outside all charts have the colour of
        the nearest one.

    Raises:
        BrokenNumbersError: a colour is NaN or infinite.
    """
    corners = place.normalised(source.vertices)[source.faces]
    texels = texels_of(uv_map.uv, texture_size, uv_map.rank, corners)
    normals = place.normalised_directions(source.shading_normals)
    look, painted = Look(source, device), source.painted_faces
    colours = np.zeros((len(texels), 3), np.float32)
    with torch.no_grad():
        for begin in range(0, len(texels), patch):
            part = slice(begin, begin + patch)
            face = texels.face[part]
            new = np.flatnonzero(painted[face])
            some = torch.from_numpy(colours[part])
            if len(new):
                points = torch.from_numpy(texels.blended(corners, part)[new]).to(device)
                directions = torch.nn.functional.normalize(
                    torch.from_numpy(texels.blended(normals, part)[new]).to(device), dim=-1
                )
                some[new] = ask(points, directions).float().cpu()
            old = np.flatnonzero(~painted[face])
            if len(old):
                weights = torch.from_numpy(texels.barycentric[part][old]).to(device)
                some[old] = look.colours(torch.from_numpy(face[old]).long().to(device), weights).cpu()
    if not np.isfinite(colours).all():
        return eight_bit(torch.from_numpy(colours)).numpy()  # which says so
    texture = filled(texels, colours)
    free = np.ones(texture_size**2, bool)
    free[texels.index] = painted[texels.face]
    points = seam_points(source, uv_map.uv, texture_size)
    texture = without_seams(texture, points, free.reshape(texture.shape[:2]))
    return eight_bit(torch.from_numpy(texture)).numpy()
