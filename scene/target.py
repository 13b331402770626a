"""Finds the object that a texture is for: also when it was renamed, and after the file was opened again.

The object has an identity of its own in a custom property. A copy of the object has the same one; then the one with the
recorded name is meant. The property is not `markers.JOB`: what has that is ours to remove.
"""

from __future__ import annotations

import uuid

import bpy

from ..jobs.placement import Placement, Target

IDENTITY = "sdi_identity"


def placement_on(thing: bpy.types.Object, uv_map: str, scene: str = "") -> Placement:
    """The placement of a texture on an object as it stands now; gives the object an identity if it has none.

    Args:
        thing: a mesh object of this file.
        uv_map: the name of the UV map that the texture is made for; empty if the mesh has none.
        scene: the scene's name.
    """
    identity = thing.get(IDENTITY)
    if not isinstance(identity, str) or not identity:
        identity = thing[IDENTITY] = uuid.uuid4().hex
    numbers = tuple(value for row in thing.matrix_world for value in row)
    target = Target(identity, thing.name, uv_map)
    return Placement(numbers, scene=scene, blend_file=bpy.data.filepath, target=target)


def find(target: Target, preferred: bpy.types.Object | None = None) -> bpy.types.Object | None:
    """The object in the open file, or its copy `preferred` if that is one; None if it has been deleted."""
    ours = [each for each in bpy.data.objects if each.library is None and each.type == "MESH"]
    same = [each for each in ours if each.get(IDENTITY) == target.identity]
    if not same:  # an undo may have taken the property away
        same = [each for each in ours if each.name == target.name and IDENTITY not in each]
    if preferred is not None and preferred in same:
        return preferred
    return next((each for each in same if each.name == target.name), next(iter(same), None))


def find_linked(target: Target) -> bpy.types.Object | None:
    """The object where it is linked from another file by now, which nothing can be put on."""
    same = (each for each in bpy.data.objects if each.get(IDENTITY) == target.identity)
    return next((each for each in same if each.library is not None), None)


def identities() -> set[object]:
    """The identities of the objects of the open file."""
    return {each.get(IDENTITY) for each in bpy.data.objects if each.library is None}
