"""The collection "SDI" of a scene, which contains its results.

Each scene has one of its own, since all that is in a collection is seen in every scene that has it. So the second has
another name, such as "SDI.001", as has ours where one is linked or overridden from another file and cannot be changed.
"""

from __future__ import annotations

import re

import bpy

NAME = "SDI"

_OURS = re.compile(rf"{NAME}(\.\d+)?")


def collection_in(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The scene's collection; made and linked to the scene if it has none.

    One that was left over, empty, when its scene was deleted, is taken up again.
    """
    ours = [each for each in bpy.data.collections if _OURS.fullmatch(each.name)]
    ours = [each for each in ours if each.library is None and each.override_library is None]
    inside = set(scene.collection.children_recursive)
    collection = next((each for each in ours if each in inside), None)
    if collection is None:
        unused = (each for each in ours if not each.users and not each.objects and not each.children)
        collection = next(unused, None) or bpy.data.collections.new(NAME)
        scene.collection.children.link(collection)
    return collection
