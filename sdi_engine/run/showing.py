"""What a person sees of a run before it is over: the preview, the turntable, the live mesh."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..contract.events import LiveMeshSaved, PreviewSaved
from ..contract.job_folder import JobFolder, storage_errors
from ..mesh.eight_bit import eight_bit
from ..mesh.export import standing_on_ground
from ..mesh.surface import extract_surface
from ..system.files import make_folder_of_ours, write_atomically
from .generate import Generation

MAX_PREVIEW_RESOLUTION = 192
"""Previews are twice as fine as what the model sees, up to this."""

PREVIEW_AZIMUTH_DEG = 30.0
ELEVATION_DEG = 20.0
TURNTABLE_SIDES = 6
TURNTABLE_RESOLUTION = 64

LIVE_RESOLUTION = 48
"""Cells along the longest edge of what is occupied."""

LIVE_FACES = 4000


def save_preview(generation: Generation, folder: JobFolder) -> PreviewSaved:
    """Pictures of the current state: the preview, which is also kept under its step, and all sides.

    Raises:
        BrokenNumbersError: the field holds numbers that are none.
        StorageError: they cannot be written.
    """
    resolution = min(2 * generation.settings.resolution, MAX_PREVIEW_RESOLUTION)
    picture = generation.view([PREVIEW_AZIMUTH_DEG], ELEVATION_DEG, resolution)[0]
    azimuths = [360.0 * side / TURNTABLE_SIDES for side in range(TURNTABLE_SIDES)]
    sides = generation.view(azimuths, ELEVATION_DEG, TURNTABLE_RESOLUTION)
    with storage_errors(folder.path):
        make_folder_of_ours(folder.previews_folder)
        make_folder_of_ours(folder.turntable_folder)
        for number, side in enumerate(sides):
            write_atomically(folder.turntable_folder / f"side-{number}.png", _png(side))
        for file in (folder.previews_folder / f"step-{generation.step:06d}.png", folder.preview_file):
            write_atomically(file, _png(picture))
    return PreviewSaved(folder.preview_file.name, generation.step)


def save_live_mesh(generation: Generation, folder: JobFolder, height: float) -> LiveMeshSaved:
    """A light mesh of the current state (`job_folder` says in which format), `height` metres tall.

    Raises:
        NoObjectError: there is nothing to see yet.
        StorageError: it cannot be written.
    """
    surface = extract_surface(generation.field, generation.occupancy, LIVE_RESOLUTION, LIVE_FACES)
    vertices = np.asarray(surface.vertices, dtype=np.float32)
    with torch.no_grad():
        _, albedo = generation.field(torch.from_numpy(vertices).to(generation.device))
    content = io.BytesIO()
    np.savez(
        content,
        vertices=standing_on_ground(vertices, height),
        faces=np.asarray(surface.faces, dtype=np.int32),
        colours=eight_bit(albedo).numpy(),
    )
    with storage_errors(folder.path):
        write_atomically(folder.live_file, content.getvalue())
    return LiveMeshSaved(generation.step)


def to_image(picture: Tensor) -> Image.Image:
    """A (3, H, W) tensor in 0…1 as an 8-bit image; raises BrokenNumbersError."""
    return Image.fromarray(eight_bit(picture).permute(1, 2, 0).contiguous().numpy())


def _png(picture: Tensor) -> bytes:
    content = io.BytesIO()
    to_image(picture).save(content, format="PNG")
    return content.getvalue()
