"""The process that `packing.pack` starts: charts from the standard input, packed by xatlas, to the standard output."""

from __future__ import annotations

import io
import os
import sys

import numpy as np
import xatlas


def main() -> None:
    """Pack, and leave at once: xatlas's own end is what may never come."""
    with np.load(io.BytesIO(sys.stdin.buffer.read())) as asked:
        atlas = xatlas.Atlas()
        atlas.add_uv_mesh(asked["flat"], asked["faces"], asked["chart"])
        packing = xatlas.PackOptions()
        packing.padding = int(asked["padding"])
        packing.resolution = int(asked["resolution"])
        packing.texels_per_unit = float(asked["texels_per_unit"])
        packing.bilinear = True
        atlas.generate(xatlas.ChartOptions(), packing)
    source, faces, uv = atlas[0]
    packed = io.BytesIO()
    np.savez(packed, source=source, faces=faces, uv=uv, size=np.array([atlas.width, atlas.height]))
    sys.stdout.buffer.write(packed.getvalue())
    sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
