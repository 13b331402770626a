"""The collection "SDI", which contains all results.

One that is linked or overridden from another file cannot be changed; ours then has another name, such as "SDI.001".
"""

from __future__ import annotations

import re

import bpy

NAME = "SDI"

_OURS = re.compile(rf"{NAME}(\.\d+)?")


def collection_in(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The collection; made if it does not exist, and linked to the scene if it is not in it."""
    collection = _find()
    if collection is None:
        collection = bpy.data.collections.new(NAME)
    if collection not in scene.collection.children_recursive:
        scene.collection.children.link(collection)
    return collection


def collection_for_helpers(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The collection for markers and live meshes: "SDI", or, if only other scenes have that, the scene's own.

    They are made without an undo step, and an undo to before the collection was linked would leave the scene with a
    collection that no longer exists.
    """
    collection = _find()
    if collection is not None and collection not in scene.collection.children_recursive:
        return scene.collection
    return collection_in(scene)


def discard_if_empty() -> bool:
    """Remove the collection if it is empty, so that the file is as before; returns whether it was removed."""
    collection = _find()
    if collection is None or collection.objects or collection.children:
        return False
    bpy.data.collections.remove(collection)
    return True


def link_again(scene: bpy.types.Scene) -> None:
    """Link the collection to the scene if it is in no scene."""
    collection = _find()
    if collection is not None and not collection.users:
        scene.collection.children.link(collection)


def _find() -> bpy.types.Collection | None:
    ours = (each for each in bpy.data.collections if _OURS.fullmatch(each.name))
    return next((each for each in ours if each.library is None and each.override_library is None), None)
