"""The collection "SDI", in which all our results are.

One that is linked or overridden from another file cannot be changed: ours is another one then, such as "SDI.001".
"""

from __future__ import annotations

import re

import bpy

NAME = "SDI"

_OURS = re.compile(rf"{NAME}(\.\d+)?")


def collection_in(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The collection, made where it does not exist, and linked where the scene does not have it."""
    collection = _find()
    if collection is None:
        collection = bpy.data.collections.new(NAME)
    if collection not in scene.collection.children_recursive:
        scene.collection.children.link(collection)
    return collection


def collection_for_helpers(scene: bpy.types.Scene) -> bpy.types.Collection:
    """Where markers and live meshes go: the same collection, but the scene's own where only other scenes have it.

    They come without an undo step, and an undo past the step in which the collection came into the file would leave the
    scene with a collection that is gone.
    """
    collection = _find()
    if collection is not None and collection not in scene.collection.children_recursive:
        return scene.collection
    return collection_in(scene)


def discard_if_empty() -> bool:
    """Remove the collection where nothing is in it (any more), so that the file is as before; whether it was so."""
    collection = _find()
    if collection is None or collection.objects or collection.children:
        return False
    bpy.data.collections.remove(collection)
    return True


def link_again(scene: bpy.types.Scene) -> None:
    """Link the collection to the scene where it is in no scene, or remove it where nothing is in it."""
    collection = _find()
    if collection is not None and not discard_if_empty() and not collection.users:
        scene.collection.children.link(collection)


def _find() -> bpy.types.Collection | None:
    ours = (each for each in bpy.data.collections if _OURS.fullmatch(each.name))
    return next((each for each in ours if each.library is None and each.override_library is None), None)
