"""A scene of our own for an operator of Blender's, so that the person's selection and mode do not matter to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy

_NOTHING = dict.fromkeys(
    (
        "active_object",
        "edit_object",
        "image_paint_object",
        "object",
        "particle_edit_object",
        "pose_object",
        "sculpt_object",
        "vertex_paint_object",
        "weight_paint_object",
    )
)


@contextmanager
def temporary_scene(context: bpy.types.Context, name: str) -> Iterator[bpy.types.Scene]:
    """An empty scene that is the context's during the block; it is removed at the end, with all that is left in it."""
    scene = bpy.data.scenes.new(name)
    view_layer = scene.view_layers[0]
    try:
        with context.temp_override(
            scene=scene,
            view_layer=view_layer,
            collection=scene.collection,
            layer_collection=view_layer.layer_collection,
            selected_objects=[],
            **_NOTHING,
        ):
            yield scene
    finally:
        for leftover in list(scene.collection.all_objects):
            data = leftover.data
            bpy.data.objects.remove(leftover)
            if isinstance(data, bpy.types.Mesh) and not data.users:
                bpy.data.meshes.remove(data)
        for collection in list(scene.collection.children_recursive):
            bpy.data.collections.remove(collection)
        bpy.data.scenes.remove(scene)
