"""What a person sees of a run before it is over: the preview, the turntable, the live mesh."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor

from ..contract.events import LiveMeshSaved, PreviewSaved
from ..contract.job_folder import JobFolder, storage_errors
from ..mesh.eight_bit import eight_bit
from ..mesh.export import standing_on_ground
from ..system.files import make_folder_of_ours, write_atomically
from .optimisation import Optimisation

MAX_PREVIEW_RESOLUTION = 192
"""Previews are twice as fine as what the model sees, up to this."""

PREVIEW_AZIMUTH_DEG = 30.0
ELEVATION_DEG = 20.0
TURNTABLE_SIDES = 6
TURNTABLE_RESOLUTION = 64

LIVE_FACES = 4000


def save_preview(run: Optimisation, folder: JobFolder) -> PreviewSaved:
    """Pictures of the current state: the preview, which is also kept under its step, and all sides.

    Raises:
        BrokenNumbersError: a colour is NaN or infinite.
        StorageError: they cannot be written.
    """
    resolution = min(2 * run.settings.resolution, MAX_PREVIEW_RESOLUTION)
    picture = run.view([PREVIEW_AZIMUTH_DEG], ELEVATION_DEG, resolution)[0]
    azimuths = [360.0 * side / TURNTABLE_SIDES for side in range(TURNTABLE_SIDES)]
    sides = run.view(azimuths, ELEVATION_DEG, TURNTABLE_RESOLUTION)
    with storage_errors(folder.path):
        make_folder_of_ours(folder.previews_folder)
        make_folder_of_ours(folder.turntable_folder)
        for number, side in enumerate(sides):
            write_atomically(folder.turntable_folder / f"side-{number}.png", _png(side))
        for file in (folder.previews_folder / f"step-{run.step:06d}.png", folder.preview_file):
            write_atomically(file, _png(picture))
    return PreviewSaved(folder.preview_file.name, run.step)


def save_live_mesh(run: Optimisation, folder: JobFolder, height: float) -> LiveMeshSaved:
    """A light mesh of the current state (`job_folder` says in which format), `height` metres tall or in its own place.

    Raises:
        NoObjectError: there is nothing to see yet.
        StorageError: it cannot be written.
    """
    mesh = run.representation.preview_mesh(LIVE_FACES)
    arrays = {
        "vertices": mesh.vertices if mesh.is_placed else standing_on_ground(mesh.vertices, height),
        "faces": mesh.faces,
        "colours": eight_bit(mesh.colours).numpy(),
    }
    content = io.BytesIO()
    # row by row, as they are read, however they lie in memory
    np.savez(content, **{name: np.ascontiguousarray(array) for name, array in arrays.items()})
    with storage_errors(folder.path):
        write_atomically(folder.live_file, content.getvalue())
    return LiveMeshSaved(run.step)


def to_image(picture: Tensor) -> Image.Image:
    """A (3, H, W) tensor in 0…1 as an 8-bit image; raises BrokenNumbersError."""
    return Image.fromarray(eight_bit(picture).permute(1, 2, 0).contiguous().numpy())


def _png(picture: Tensor) -> bytes:
    content = io.BytesIO()
    to_image(picture).save(content, format="PNG")
    return content.getvalue()
