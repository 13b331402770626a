"""What the person's data refer to: a parent, the target of a constraint or a driver, a modifier's object, a camera's
focus, the object of a node.

Undo keeps a datablock that looks the same in the step that it goes to, with all that it refers to now. If that is not
in the step, Blender frees it, and crashes when it follows the pointer. So `undo` clears pointers to jobs' helpers
before, and sets them again where Blender kept their owner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import bpy

from . import markers

_NOT_UNDONE = (bpy.types.Screen, bpy.types.WindowManager, bpy.types.WorkSpace)

_KEPT = "sdi_undo_reference"
"""A property of an owner during an undo: afterwards only one that Blender kept as it was still has it."""


@dataclass(frozen=True)
class Reference:
    """One pointer of a person's datablock to a helper.

    Attributes:
        kind: of the owner: its collection in `bpy.data`.
        owner: the name of the datablock.
        path: the data path from the owner to what has the pointer, such as a constraint; "" for the owner itself.
        name: of the pointer: a property's identifier, or the key of a custom property.
        job_name: the name of the helper's job.
        part: which of the job's helpers it is, by `markers.PART`.
    """

    kind: str
    owner: str
    path: str
    name: str
    job_name: str
    part: str


def clear(helpers: Collection[bpy.types.Object]) -> list[Reference]:
    """Clear the pointers of other datablocks to these helpers, and return them."""
    cleared = []
    for owner in _users(helpers):
        for path, holder, name, helper in list(_pointers(owner)):
            if helper in helpers:
                job_name, part = str(helper[markers.JOB]), str(helper.get(markers.PART, ""))
                cleared.append(Reference(_kind_of(owner), owner.name, path, name, job_name, part))
                _point(holder, name, None)
                owner[_KEPT] = True
    return cleared


def restore(references: Collection[Reference]) -> None:
    """Set these pointers again, of owners that Blender kept, to the jobs' helpers as they are now."""
    kept = []
    for each in references:
        owner = getattr(bpy.data, each.kind).get((each.owner, None))  # not a linked one
        if owner is None or _KEPT not in owner:
            continue
        kept.append(owner)
        holder = owner.path_resolve(each.path) if each.path else owner
        helper = next(iter(markers.helpers(each.job_name, each.part)), None)  # also one that the person has deleted
        _point(holder, each.name, helper)
    for owner in kept:
        owner.pop(_KEPT, None)


def _users(helpers: Collection[bpy.types.Object]) -> list[bpy.types.ID]:
    """Datablocks of this file that use the helpers in any way, without the helpers themselves."""
    if not helpers:
        return []
    users = {user for users in bpy.data.user_map(subset=helpers).values() for user in users}
    return [
        each for each in users if not isinstance(each, _NOT_UNDONE) and each not in helpers and each.library is None
    ]


def _kind_of(owner: bpy.types.ID) -> str:
    kinds = (each for each in bpy.data.bl_rna.properties if each.type == "COLLECTION")
    return next(each.identifier for each in kinds if isinstance(owner, getattr(bpy.types, each.fixed_type.identifier)))


def _pointers(owner: bpy.types.ID) -> Iterator[tuple[str, bpy.types.bpy_struct, str, bpy.types.Object]]:
    """The pointers to objects that can be changed: the path of what has each, that itself, its name, and the object."""
    for path, holder in _holders(owner):
        for prop in holder.bl_rna.properties:
            if prop.type == "POINTER" and not prop.is_readonly:
                target = getattr(holder, prop.identifier)
                if isinstance(target, bpy.types.Object):
                    yield path, holder, prop.identifier, target
        for name, target in _custom_properties(holder):
            if isinstance(target, bpy.types.Object):
                yield path, holder, name, target


def _holders(owner: bpy.types.ID) -> Iterator[tuple[str, bpy.types.bpy_struct]]:
    """The owner, and what it consists of that may point to an object, each after the path from the owner to it."""
    yield "", owner
    yield from _targets_of_drivers(owner, "")
    if isinstance(owner, bpy.types.NodeTree):
        yield from _inside_tree(owner, "")
    elif getattr(owner, "node_tree", None) is not None:
        yield from _inside_tree(owner.node_tree, "node_tree.")
        yield from _targets_of_drivers(owner.node_tree, "node_tree.")
    if isinstance(owner, bpy.types.Object):
        yield from ((each.path_from_id(), each) for each in _parts_of(owner))
    elif isinstance(owner, bpy.types.Camera):
        yield "dof", owner.dof
    elif isinstance(owner, bpy.types.Scene):
        yield from ((f"timeline_markers[{index}]", each) for index, each in enumerate(owner.timeline_markers))


def _inside_tree(tree: bpy.types.NodeTree, path: str) -> Iterator[tuple[str, bpy.types.bpy_struct]]:
    for node in tree.nodes:
        for each in (node, *node.inputs):
            yield path + each.path_from_id(), each


def _targets_of_drivers(owner: bpy.types.ID, path: str) -> Iterator[tuple[str, bpy.types.bpy_struct]]:
    animation = getattr(owner, "animation_data", None)
    for number, curve in enumerate(animation.drivers if animation is not None else ()):
        for index, variable in enumerate(curve.driver.variables):
            here = f"{path}animation_data.drivers[{number}].driver.variables[{index}]"
            yield from ((f"{here}.targets[{at}]", target) for at, target in enumerate(variable.targets))


def _parts_of(thing: bpy.types.Object) -> Iterator[bpy.types.bpy_struct]:
    yield from filter(None, (thing.field, thing.rigid_body_constraint))
    for modifier in thing.modifiers:
        yield modifier
        if hasattr(modifier, "properties"):  # the inputs of geometry nodes, as Blender 5.2 has them
            inputs = modifier.properties.inputs
            names = [each.identifier for each in inputs.bl_rna.properties if each.type == "POINTER"]
            yield from (getattr(inputs, name) for name in names if name != "rna_type")
    bones = thing.pose.bones if thing.pose is not None else ()
    yield from bones
    for constrained in (thing, *bones):
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
