"""A look for the whole surface, written into every texel of a UV map."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..mesh.eight_bit import eight_bit
from ..system.occasions import occasion
from .seams import seam_points, without_seams
from .source import Place, SourceMesh
from .texels import filled, texels_of
from .uv_map import UvMap

ColoursAt = Callable[[Tensor, Tensor], Tensor]
"""Triangles (N,), int64, and weights of their corners (N, 3), perhaps a little outside 0…1 → sRGB (N, 3) in 0…1."""


def bake(
    colours_at: ColoursAt,
    source: SourceMesh,
    place: Place,
    uv_map: UvMap,
    texture_size: int,
    device: torch.device,
    patch: int = 65_536,
) -> NDArray[np.uint8]:
    """A texture that shows at each texel the colour of the texel's own point, also of those that no camera saw.

    Both sides of a seam show the same (`seams`), but that triangles which are not painted stay as they are.

    Args:
        colours_at: asked without gradients, for `patch` texels at a time, with tensors on `device`; of triangles that
            are not painted, too.

    Returns:
        (texture_size, texture_size, 3), sRGB, row 0 at the top (v = 1). Texels outside all charts have the colour of
        the nearest one.

    Raises:
        BrokenNumbersError: a colour is NaN or infinite.
    """
    corners = place.normalised(source.vertices)[source.faces]
    texels = texels_of(uv_map.uv, texture_size, uv_map.rank, corners)
    faces = torch.from_numpy(texels.face.astype(np.int64)).split(patch)
    weights = torch.from_numpy(texels.barycentric).split(patch)
    with torch.no_grad():
        parts = [
            colours_at(some.to(device), their.to(device)).float().cpu()
            for some, their in zip(faces, weights, strict=True)
        ]
    colours = torch.cat(parts)
    if not colours.isfinite().all():
        return eight_bit(colours).numpy()  # which says so
    occasion()
    texture = filled(texels, colours.numpy())
    free = np.ones(texture_size**2, bool)
    free[texels.index] = source.painted_faces[texels.face]
    occasion()
    points = seam_points(source, uv_map.uv, texture_size)
    texture = without_seams(texture, points, free.reshape(texture.shape[:2]))
    return eight_bit(torch.from_numpy(texture)).numpy()
