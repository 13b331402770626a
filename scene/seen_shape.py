"""The shape that a mesh is seen with: its own vertices behind its shape keys and modifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy

from .rest_shape import coordinates

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

DEFORMING_PARENTS = ("ARMATURE", "LATTICE")
"""Types of parents that act as modifiers."""


def seen_shape(context: bpy.types.Context, thing: bpy.types.Object) -> np.ndarray | None:
    """The vertices (V, 3) float64 of a mesh object as the context's view layer shows them, in the object's own space.

    None where modifiers make other vertices, or the object is hidden, or in another scene.
    """
    import numpy as np

    evaluated = thing.evaluated_get(context.evaluated_depsgraph_get())
    if not evaluated.is_evaluated:
        return None
    mesh = evaluated.to_mesh()
    try:
        return coordinates(mesh.vertices).astype(np.float64) if len(mesh.vertices) == len(thing.data.vertices) else None
    finally:
        evaluated.to_mesh_clear()
