"""What the person's objects and scenes refer to: a parent, the target of a constraint, a modifier's object, a camera.

Undo keeps an object that looks the same in the step that it goes to, with all that it refers to now. If that is not in
the step, Blender frees it, and crashes when it follows the pointer. So `undo` clears pointers to jobs' helpers before,
and sets them again where Blender kept their owner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import bpy

from . import markers

_KEPT = "sdi_undo_reference"
"""A property of an owner during an undo: afterwards only one that Blender kept as it was still has it."""


@dataclass(frozen=True)
class Reference:
    """One pointer of a person's object or scene to a helper.

    Attributes:
        owner: the name of the object or the scene.
        is_scene: whether the owner is a scene.
        path: the data path from the owner to what has the pointer, such as a constraint; "" for the owner itself.
        name: of the pointer: a property's identifier, or the key of a custom property.
        job_name: the name of the helper's job.
        part: which of the job's helpers it is, by `markers.PART`.
    """

    owner: str
    is_scene: bool
    path: str
    name: str
    job_name: str
    part: str


def clear(helpers: Collection[bpy.types.Object]) -> list[Reference]:
    """Clear the pointers of other objects and of scenes to these helpers, and return them."""
    cleared = []
    for owner in _users(helpers):
        for holder, name, helper in list(_pointers(owner)):
            if helper in helpers:
                path = "" if holder == owner else holder.path_from_id()
                is_scene = isinstance(owner, bpy.types.Scene)
                cleared.append(
                    Reference(owner.name, is_scene, path, name, str(helper[markers.JOB]), helper[markers.PART])
                )
                _point(holder, name, None)
                owner[_KEPT] = True
    return cleared


def restore(references: Collection[Reference]) -> None:
    """Set these pointers again, of owners that Blender kept, to the jobs' helpers as they are now."""
    kept = []
    for each in references:
        owner = (bpy.data.scenes if each.is_scene else bpy.data.objects).get((each.owner, None))  # not a linked one
        if owner is None or _KEPT not in owner:
            continue
        kept.append(owner)
        holder = owner.path_resolve(each.path) if each.path else owner
        _point(holder, each.name, markers.find(each.job_name, each.part))
    for owner in kept:
        owner.pop(_KEPT, None)


def _users(helpers: Collection[bpy.types.Object]) -> list[bpy.types.ID]:
    """Objects and scenes of this file that use the helpers in any way, without the helpers themselves."""
    if not helpers:
        return []
    users = {user for users in bpy.data.user_map(subset=helpers).values() for user in users}
    kinds = (bpy.types.Object, bpy.types.Scene)
    return [each for each in users if isinstance(each, kinds) and each not in helpers and each.library is None]


def _pointers(owner: bpy.types.ID) -> Iterator[tuple[bpy.types.bpy_struct, str, bpy.types.Object]]:
    """The pointers to objects that can be changed: what has each, its name, and the object."""
    for holder in _holders(owner):
        for prop in holder.bl_rna.properties:
            if prop.type == "POINTER" and not prop.is_readonly:
                target = getattr(holder, prop.identifier)
                if isinstance(target, bpy.types.Object):
                    yield holder, prop.identifier, target
        for name, target in _custom_properties(holder):
            if isinstance(target, bpy.types.Object):
                yield holder, name, target


def _holders(owner: bpy.types.ID) -> Iterator[bpy.types.bpy_struct]:
    """The owner, and what it consists of that may point to an object."""
    yield owner
    if not isinstance(owner, bpy.types.Object):
        return
    for modifier in owner.modifiers:
        yield modifier
        if hasattr(modifier, "properties"):  # the inputs of geometry nodes, as Blender 5.2 has them
            inputs = modifier.properties.inputs
            names = [each.identifier for each in inputs.bl_rna.properties if each.type == "POINTER"]
            yield from (getattr(inputs, name) for name in names if name != "rna_type")
    bones = owner.pose.bones if owner.pose is not None else ()
    for constrained in (owner, *bones):
        yield from constrained.constraints


def _custom_properties(holder: bpy.types.bpy_struct) -> list[tuple[str, object]]:
    """Custom properties, which the inputs of geometry nodes are, too, before Blender 5.2."""
    is_before = isinstance(holder, bpy.types.NodesModifier) and not hasattr(holder, "properties")
    return list(holder.items()) if is_before or isinstance(holder, bpy.types.ID) else []


def _point(holder: bpy.types.bpy_struct, name: str, target: bpy.types.Object | None) -> None:
    if name in holder.bl_rna.properties:
        setattr(holder, name, target)
    else:
        holder[name] = target
