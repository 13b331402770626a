"""A surface in quads of about one size, whose edges follow it: Instant Meshes (Jakob, Tarini, Panozzo and Sorkine-
Hornung, Instant field-aligned meshes, 2015), in a process of its own, since a crash there would take the job along."""

from __future__ import annotations

import importlib.util
import io
import logging
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from ..system.helpers import HelperFailedError, answer_of
from .topology import non_manifold_edges, pieces, welded

REMESHER = Path(__file__).with_name("quad_remesher.py")

TRIES = 3
MARGIN = 0.97
"""It is asked for so much of what is wanted, since it makes a little more or less than it is asked for."""

PER_FACE = 4
"""Quads for each face that it is asked for: it cuts every face in the middle, so that only quads are left."""

MOST_LOST = 0.1
"""Share of the volume that may come or go; with more of it something thin is missing."""

SECONDS = 600.0

_logger = logging.getLogger(__name__)


def remeshed(mesh: trimesh.Trimesh, face_budget: int) -> trimesh.Trimesh | None:
    """The surface in quads: every two triangles, one after the other, are one; at most `face_budget` triangles in all.

    Args:
        mesh: closed and manifold.

    Returns:
        Closed and manifold, of as many pieces; None where the package is missing, or no such mesh came of it.
    """
    if importlib.util.find_spec("pynanoinstantmeshes") is None:
        _logger.warning("pynanoinstantmeshes is not installed.")
        return None
    count = MARGIN * face_budget / 2 / PER_FACE
    for _ in range(TRIES):
        made = _instant_meshes(mesh, int(count))
        if made is None:
            return None
        vertices, quads = made
        if 2 * len(quads) <= face_budget:
            found = trimesh.Trimesh(vertices, _halves(vertices, quads), process=False)
            return found if _is_sound(found, mesh) else None
        count *= MARGIN * face_budget / (2 * len(quads))
    return None


def _instant_meshes(mesh: trimesh.Trimesh, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Vertices (V, 3) and quads (Q, 4), about `PER_FACE` times as many as asked for; None if it fails."""
    asked = io.BytesIO()
    vertices, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.uint32)
    np.savez(asked, vertices=vertices, faces=faces, count=max(1, count))
    try:
        answer = answer_of(REMESHER, asked.getvalue(), SECONDS)
    except HelperFailedError as error:
        _logger.warning("Instant Meshes %s", error)
        return None
    with np.load(io.BytesIO(answer)) as found:
        return found["vertices"], found["quads"].astype(np.int64)


def _halves(vertices: NDArray[np.floating], quads: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2 Q, 3): quads cut along their shorter diagonals."""
    a, b, c, d = (vertices[quads[:, corner]] for corner in range(4))
    along = ((a - c) ** 2).sum(axis=1) <= ((b - d) ** 2).sum(axis=1)
    turned = np.where(along[:, None], quads, np.roll(quads, -1, axis=1))
    return turned[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


def _is_sound(found: trimesh.Trimesh, mesh: trimesh.Trimesh) -> bool:
    """Whether the one is closed and manifold, and of the other's shape, roughly."""
    faces = welded(found.vertices)[found.faces]
    if not len(faces) or len(non_manifold_edges(faces)) or pieces(faces)[0] != pieces(np.asarray(mesh.faces))[0]:
        return False
    return bool(abs(found.volume - mesh.volume) <= MOST_LOST * abs(mesh.volume))
