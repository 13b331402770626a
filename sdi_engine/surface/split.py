"""A mesh with a UV map as files want it: corners that differ in anything are vertices of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..mesh.unwrap import UnwrappedMesh
from .source import SourceMesh


def split_at_seams(source: SourceMesh, uv: NDArray[np.float32]) -> UnwrappedMesh:
    """The source in its own place, with its vertices split where the UV map (F, 3, 2) or the normals are.

    The faces keep their order.
    """
    vertex = source.faces.reshape(-1)
    normals = source.shading_normals.reshape(-1, 3)
    # bytes of one corner, so that equal corners are found by one sort
    corners = np.concatenate([vertex[:, None].view(np.float32), uv.reshape(-1, 2), normals], axis=1)
    as_bytes = np.ascontiguousarray(corners).view(np.dtype((np.void, corners.shape[1] * corners.itemsize))).ravel()
    _, first, numbers = np.unique(as_bytes, return_index=True, return_inverse=True)
    return UnwrappedMesh(
        vertices=source.vertices[vertex[first]],
        normals=normals[first],
        faces=numbers.reshape(-1, 3).astype(np.int64),
        uv=uv.reshape(-1, 2)[first],
    )
