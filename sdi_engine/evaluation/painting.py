"""The starter world's own things without their colours, to be painted; and how well a texture lies on them."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from ..contract import source_mesh
from ..contract.job_folder import JobFolder
from ..errors import BadInputError
from ..starter.captions import parse
from ..starter.world import make_instance
from ..surface.look import UNKNOWN
from ..surface.seams import seam_difference, seam_points
from ..surface.source import SourceMesh, read_source
from ..surface.texels import texels_of

SEED = 7_301
"""Of the things' shapes, with the job's own: neither the prior nor the judge was trained on them."""


def unpainted_thing(prompt: str, seed: int) -> SourceMesh:
    """The geometry of what a prompt says, without UV map and colours.

    Raises:
        BadInputError: it is nothing of the starter world.
    """
    try:
        subject = parse(prompt)
    except ValueError as error:
        raise BadInputError(
            f'The starter world has no mesh of "{prompt}" to paint: evaluate textures with its own prompts.'
        ) from error
    thing = make_instance(subject, np.random.default_rng([SEED, seed]))
    return SourceMesh(thing.vertices.astype(np.float32), thing.faces.astype(np.int32))


def painting_quality(folder: JobFolder) -> dict[str, float]:
    """Of a finished texture job, by the names of `report.METRICS`.

    `seam`: by how much the two sides of a seam differ at most, of 255. `unpainted`: how many texels of charts
    still show the grey of a surface of which no colour is known, they and their four neighbours (a single one may well
    have been painted so). `seconds_2d`, `seconds_3d`: in the 2D model, and in all else
    but loading it.

    Raises:
        BadInputError: the job's mesh is damaged.
    """
    source = read_source(folder.source_file)
    with Image.open(folder.texture_file) as picture:
        texture = np.asarray(picture.convert("RGB"))
    uv = source.uv
    if folder.uv_file.is_file():
        with np.load(folder.uv_file, allow_pickle=False) as arrays:
            uv = arrays[source_mesh.UV]
    if uv is None:
        raise BadInputError(f'"{folder.path}" has no UV map for its texture: make it again.')
    size = len(texture)
    corners = source.place().normalised(source.vertices)[source.faces]
    texels = texels_of(uv, size, np.zeros(len(uv), np.int64), corners)
    grey = round(255 * UNKNOWN)
    is_grey = ndimage.binary_erosion((texture == grey).all(axis=-1)).ravel()
    seams = seam_difference(texture, seam_points(source, uv, size))
    seconds = (folder.result() or {}).get("seconds", {})
    return {
        "seam": float(seams.max(initial=0.0)),
        "unpainted": float(is_grey[texels.index[texels.inside]].sum()),
        "seconds_2d": float(seconds.get("optimise_2d", 0.0)),
        "seconds_3d": float(sum(seconds.get(name, 0.0) for name in ("read", "optimise_3d", "bake", "save"))),
    }
