"""A copy of an object as its modifiers leave it, for results that its own mesh cannot have."""

from __future__ import annotations

import bpy

from . import target
from .seen_shape import DEFORMING_PARENTS


def copy_as_evaluated(context: bpy.types.Context, thing: bpy.types.Object, ending: str) -> bpy.types.Object:
    """A copy of the object with its modifiers and shape keys applied, in its place; the object itself is hidden.

    Further results for the object go onto the copy.

    Args:
        context: its view layer gives the evaluated mesh.
        ending: of the copy's name, in brackets.
    """
    depsgraph = context.evaluated_depsgraph_get()
    mesh = bpy.data.meshes.new_from_object(
        thing.evaluated_get(depsgraph), preserve_all_data_layers=True, depsgraph=depsgraph
    )
    mesh.name = thing.data.name
    copy = thing.copy()
    copy.name = f"{thing.name} ({ending})"
    copy.data = mesh
    copy.modifiers.clear()
    if copy.parent_type in DEFORMING_PARENTS:  # which would deform it once more
        copy.parent_type = "OBJECT"
    for collection in thing.users_collection:
        collection.objects.link(copy)
    thing.pop(target.IDENTITY, None)
    view_layer = context.view_layer
    if thing.name in view_layer.objects:
        thing.hide_set(True, view_layer=view_layer)
    thing.hide_render = True
    return copy
