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


def _find() -> bpy.types.Collection | None:
    ours = (each for each in bpy.data.collections if _OURS.fullmatch(each.name))
    return next((each for each in ours if each.library is None and each.override_library is None), None)
