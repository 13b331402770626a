"""Corrects a refined shape until modifiers show it where the job has moved it.

To first order that holds already (`refined_shape.carried`). What modifiers do to a large movement, or to a mesh of few
vertices, is not a linear map of each triangle: so it is tried, and what is off is taken back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import bpy
from mathutils import Matrix

from .refined_shape import ROUNDING, Movement, carried, taken_apart
from .rest_shape import coordinates
from .seen_shape import DEFORMING_PARENTS, seen_shape

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

OFF_BY = 0.01
"""Share of the farthest movement by which vertices may be seen elsewhere than the job has moved them."""

_MOST_STEPS = 6
"""Of Newton's method; where modifiers move each vertex by itself, two or three are enough."""


def settle(context: bpy.types.Context, thing: bpy.types.Object, name: str, moved: Movement, matrix: Matrix) -> float:
    """Correct the shape key that `put_on` has made until modifiers take the vertices where the job has moved them.

    By Newton's method, with each vertex's own derivative of where it is seen, by differences.

    Args:
        context: its view layer gives the evaluated mesh.
        name: of the key.

    Returns:
        How far vertices are off at most, as a share of the farthest movement; NaN where that cannot be told, since the
        object is not evaluated, or has other vertices behind its modifiers by now.
    """
    import numpy as np

    key = thing.data.shape_keys.key_blocks[name]
    is_pinned_elsewhere = thing.show_only_shape_key and thing.active_shape_key != key
    if is_pinned_elsewhere or not (thing.modifiers or thing.parent_type in DEFORMING_PARENTS):
        return 0.0
    key.value = 0.0
    seen = seen_shape(context, thing)
    key.value = 1.0
    if seen is None:
        return math.nan
    linear, place = taken_apart(matrix)
    offsets = carried(moved.offsets, moved.before, seen @ linear + place, moved.faces) @ np.linalg.pinv(linear)
    farthest = np.linalg.norm(offsets, axis=1).max()
    rounding = ROUNDING * (np.ptp(seen, axis=0).max() + np.abs(seen).max())
    values = coordinates(key.data).astype(np.float64)
    for step in range(_MOST_STEPS + 1):
        off = seen + offsets - _seen_with(context, thing, key, values)
        share = max(0.0, np.linalg.norm(off, axis=1).max() - rounding) / max(farthest, rounding)
        if share <= OFF_BY or step == _MOST_STEPS:
            break
        values += _solved(_derivative(context, thing, key, values, 0.1 * farthest), off, farthest)
    return float(share)


def _seen_with(
    context: bpy.types.Context, thing: bpy.types.Object, key: bpy.types.ShapeKey, values: np.ndarray
) -> np.ndarray:
    """`seen_shape` with these coordinates (V, 3) of a shape key, which keeps them."""
    import numpy as np

    key.data.foreach_set("co", np.ascontiguousarray(values, np.float32).ravel())
    thing.data.update()
    seen = seen_shape(context, thing)
    assert seen is not None  # the key changes no topology
    return seen


def _derivative(
    context: bpy.types.Context, thing: bpy.types.Object, key: bpy.types.ShapeKey, values: np.ndarray, step: float
) -> np.ndarray:
    """(V, 3, 3): how each vertex is seen to move, by columns along x, y and z, where its coordinate of a key is moved.

    Args:
        values: (V, 3), the key's coordinates.
        step: by how much they are moved.
    """
    import numpy as np

    seen = _seen_with(context, thing, key, values)
    moved = [_seen_with(context, thing, key, values + step * np.eye(3)[axis]) for axis in range(3)]
    return np.stack([(each - seen) / step for each in moved], axis=-1)


def _solved(derivative: np.ndarray, off: np.ndarray, longest: float) -> np.ndarray:
    """(V, 3), by how much coordinates have to move for what is seen to move by `off` (V, 3), at most by `longest`.

    In directions in which nothing is seen to move they stay (damped least squares).
    """
    import numpy as np

    turned = derivative.swapaxes(1, 2)
    squared = turned @ derivative
    damping = 1e-6 * np.trace(squared, axis1=1, axis2=2) + np.finfo(np.float64).tiny
    moves = np.linalg.solve(squared + damping[:, None, None] * np.eye(3), turned @ off[..., None])[..., 0]
    lengths = np.linalg.norm(moves, axis=1, keepdims=True)
    return moves * np.minimum(1.0, longest / np.maximum(lengths, longest))
