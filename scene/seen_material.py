"""Whether an object's faces show the material that it was given, or one that its modifiers give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy

from ..sdi_engine.errors import EngineError
from .looks import slots_of_faces
from .source_mesh import evaluated_mesh, topology_of

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension


def is_seen(
    context: bpy.types.Context,
    thing: bpy.types.Object,
    material: bpy.types.Material,
    topology: np.ndarray,
    loops: np.ndarray,
) -> bool:
    """Whether polygons of the evaluated mesh show a material; also where that cannot be told.

    Args:
        context: its view layer gives the evaluated mesh.
        thing: an object in Object Mode.
        topology: of the evaluated mesh that `loops` are of; if it is another by now, it cannot be told.
        loops: (N,), at least one of each of the polygons.
    """
    import numpy as np

    if not thing.modifiers:
        return True
    thing.update_tag(refresh={"DATA"})
    context.view_layer.update()
    try:
        with evaluated_mesh(context, thing) as (_, mesh):
            if not np.array_equal(topology_of(mesh), topology):
                return True
            starts = np.empty(len(mesh.polygons), np.int32)
            mesh.polygons.foreach_get("loop_start", starts)
            polygons = np.searchsorted(starts, loops, side="right") - 1
            shown = list(mesh.materials) or [None]
            return all(shown[slot] == material for slot in np.unique(slots_of_faces(mesh)[polygons]))
    except EngineError:  # it is hidden
        return True
