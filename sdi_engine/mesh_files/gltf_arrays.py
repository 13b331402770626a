"""The arrays of a glTF file: strided, sparse, or of small integers that stand for fractions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.source_mesh import MAX_FACES
from ..errors import BadInputError
from .gltf_file import GltfFile

_KINDS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def array(file: GltfFile, number: int) -> NDArray[np.generic]:
    """The numbers (count, width) of an accessor; float64 where integers stand for fractions.

    Raises:
        BadInputError: it is too large, or in a file that cannot be read.
        ValueError, TypeError, LookupError: it is damaged.
    """
    accessor = file.document["accessors"][number]
    count, width = int(accessor["count"]), _WIDTHS[accessor["type"]]
    if not 0 <= count <= 3 * MAX_FACES:
        raise BadInputError(f'"{file.name}" has more than {MAX_FACES:,} triangles: simplify the mesh.')
    kind = np.dtype(_KINDS[accessor["componentType"]])
    values = _viewed(file, accessor, kind, count, width) if "bufferView" in accessor else np.zeros((count, width), kind)
    sparse = accessor.get("sparse")
    if sparse:
        index_kind = np.dtype(_KINDS[sparse["indices"]["componentType"]])
        index = _viewed(file, sparse["indices"], index_kind, sparse["count"], 1)[:, 0]
        values[index] = _viewed(file, sparse["values"], kind, sparse["count"], width)
    if not accessor.get("normalized") or kind.kind == "f":
        return values
    return np.maximum(values / np.iinfo(kind).max, -1.0)


def _viewed(file: GltfFile, place: Any, kind: np.dtype[Any], count: int, width: int) -> NDArray[np.generic]:
    """A copy of the numbers (count, width) in a buffer view."""
    number = place["bufferView"]
    stride = file.document["bufferViews"][number].get("byteStride") or kind.itemsize * width
    strides = (stride, kind.itemsize)
    return np.ndarray((count, width), kind, file.view(number), place.get("byteOffset", 0), strides).copy()
