"""Charts that are laid flat become one UV map: xatlas packs them, in a process of its own.

xatlas waits for its threads when it has done, and now and then for ever, since one that is just falling asleep does not
hear the call to end (`TaskScheduler` of its source; seen on a busy computer). A process that leaves without clearing up
cannot hang so, one that crashes takes nothing else along, and one that takes long is ended where nobody waits for it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..system.helpers import HelperFailedError, answer_of

PACKER = Path(__file__).with_name("packer.py")


@dataclass(frozen=True)
class Packed:
    """Charts in one square.

    Attributes:
        source: (V,), for each vertex of the map the vertex of the charts that it was.
        faces: (F, 3), in the order in which they came.
        uv: (V, 2), each side in units of its own length, 0…1; NaN where nothing has an area.
        size: width and height in texels.
    """

    source: NDArray[np.int64]
    faces: NDArray[np.int64]
    uv: NDArray[np.float32]
    size: tuple[int, int]


def pack(
    flat: NDArray[np.floating],
    faces: NDArray[np.integer],
    chart: NDArray[np.integer],
    padding: int,
    resolution: int = 0,
    texels_per_unit: float = 0.0,
) -> Packed:
    """Pack charts that lie in planes of their own.

    Args:
        flat: (V, 2), the vertices in the plane of their chart.
        faces: (F, 3).
        chart: (F,), the number of each face's chart.
        padding: texels between charts.
        resolution: width and height of the map in texels, to which the charts are scaled; 0 leaves it to
            `texels_per_unit`.
        texels_per_unit: the charts' scale; 0 leaves it to `resolution`.

    Raises:
        RuntimeError: the process has crashed.
    """
    asked = io.BytesIO()
    np.savez(
        asked,
        flat=np.ascontiguousarray(flat, np.float32),
        faces=np.ascontiguousarray(faces, np.uint32),
        chart=np.ascontiguousarray(chart, np.uint32)[:, None],
        padding=padding,
        resolution=resolution,
        texels_per_unit=texels_per_unit,
    )
    try:
        answer = answer_of(PACKER, asked.getvalue())
    except HelperFailedError as error:
        raise RuntimeError(f"The packing of the UV map {error}") from error
    with np.load(io.BytesIO(answer)) as found:
        width, height = found["size"].tolist()
        return Packed(found["source"].astype(np.int64), found["faces"].astype(np.int64), found["uv"], (width, height))
