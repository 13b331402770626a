"""The collection "SDI", in which all our results are."""

from __future__ import annotations

import bpy

NAME = "SDI"


def collection_in(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The collection, made where it does not exist, and linked where the scene does not have it."""
    collection = next((each for each in bpy.data.collections if each.name == NAME and each.library is None), None)
    if collection is None:
        collection = bpy.data.collections.new(NAME)
    if collection not in scene.collection.children_recursive:
        scene.collection.children.link(collection)
    return collection
