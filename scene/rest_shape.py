"""The shape that a mesh has before its modifiers: its own vertices, with its shape keys mixed as their sliders say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension


def rest_shape(thing: bpy.types.Object) -> np.ndarray | None:
    """The vertices (V, 3) float32 of a mesh object before its modifiers, in its own space.

    None with absolute shape keys, to which nothing can be added.
    """
    keys = thing.data.shape_keys
    if keys is None:
        return coordinates(thing.data.vertices)
    if not keys.use_relative:
        return None
    if thing.show_only_shape_key:
        return coordinates(thing.active_shape_key.data)
    mixed = coordinates(keys.reference_key.data)
    for key in keys.key_blocks:
        if key != keys.reference_key and not key.mute and key.value != 0.0:
            mixed += contribution(thing, key)
    return mixed


def contribution(thing: bpy.types.Object, key: bpy.types.ShapeKey) -> np.ndarray:
    """What a relative shape key adds to the vertices at its present value, (V, 3) float32."""
    import numpy as np

    moved = np.float32(key.value) * (coordinates(key.data) - coordinates(key.relative_key.data))
    group = thing.vertex_groups.get(key.vertex_group)
    if group is None:
        return moved
    weights = [
        sum(each.weight for each in vertex.groups if each.group == group.index) for vertex in thing.data.vertices
    ]
    return moved * np.array(weights, np.float32)[:, None]


def coordinates(points: bpy.types.bpy_prop_collection) -> np.ndarray:
    """The coordinates (V, 3) float32 of a mesh's vertices or of a shape key's points."""
    import numpy as np

    values = np.empty(3 * len(points), np.float32)
    points.foreach_get("co", values)
    return values.reshape(-1, 3)
