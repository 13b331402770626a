"""Whether an object's faces show the material that it was given, or one that its modifiers give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy

from ..sdi_engine.errors import EngineError
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
            starts, slots = np.empty((2, len(mesh.polygons)), np.int32)
            mesh.polygons.foreach_get("loop_start", starts)
            mesh.polygons.foreach_get("material_index", slots)
            polygons = np.searchsorted(starts, loops, side="right") - 1
            last = max(len(mesh.materials), len(thing.material_slots)) - 1
            return all(_material(thing, mesh, min(slot, last)) == material for slot in np.unique(slots[polygons]))
    except EngineError:  # it is hidden
        return True


def _material(thing: bpy.types.Object, mesh: bpy.types.Mesh, slot: int) -> bpy.types.Material | None:
    """What faces of an evaluated mesh with this slot show: of a slot linked to the object, what that has there."""
    if slot < len(thing.material_slots) and thing.material_slots[slot].link == "OBJECT":
        return thing.material_slots[slot].material
    return mesh.materials[slot] if slot < len(mesh.materials) else None
