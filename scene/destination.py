"""Where a result is imported, and when: not while the person is in the middle of something."""

from __future__ import annotations

import bpy
from mathutils import Vector

from ..jobs.placement import MAX_NUMBER, Placement
from . import markers, target


def scene_of(context: bpy.types.Context, placement: Placement, job_name: str = "") -> bpy.types.Scene:
    """The scene in which Generate was pressed, also if it was renamed since; if it is gone, the one that is shown.

    Where the job of this name has a marker in other scenes only, it is the marker's.
    """
    marker = markers.find(job_name) if job_name else None
    homes = [each for each in marker.users_scene if each.library is None] if marker is not None else []
    if homes and placement.scene not in (each.name for each in homes):
        return homes[0]
    return local_scene(context, placement.scene)


def local_scene(context: bpy.types.Context, name: str = "") -> bpy.types.Scene:
    """The scene of this name, else the shown one, else any; only one of this file, since linked ones cannot be changed.

    Every file has at least one scene of its own.
    """
    named = bpy.data.scenes.get((name, None))
    wanted = (each for each in (named, context.scene, *bpy.data.scenes) if each is not None)
    return next(each for each in wanted if each.library is None)


def cursor_of(scene: bpy.types.Scene) -> Vector:
    """The scene's 3D cursor; 0 along an axis where a script or a driver has set it to NaN, or beyond all bounds."""
    return Vector([each if abs(each) < MAX_NUMBER else 0.0 for each in scene.cursor.location])


def view_layer_of(context: bpy.types.Context, scene: bpy.types.Scene) -> bpy.types.ViewLayer:
    """The scene's view layer that a window shows, or else its first."""
    for window in context.window_manager.windows:
        if window.scene == scene:
            return window.view_layer
    return scene.view_layers[0]


def editor_of(thing: bpy.types.Object) -> bpy.types.Object | None:
    """An object in another mode than Object Mode that has this object's data: itself, or another user of its mesh."""
    return next((each for each in bpy.data.objects if each.data == thing.data and each.mode != "OBJECT"), None)


def reason_to_wait(context: bpy.types.Context, placement: Placement, what: str, job_name: str = "") -> str:
    """Why a job's result, such as an "object", must wait, and for what, as one sentence; empty if it may be imported.

    Modes other than Object Mode have an undo history of their own, in which a new object would be lost, in whichever
    scene it is. So the result waits, and does not interrupt the person.
    """
    comes = f"The {what} is ready: it comes into the scene"
    view_layers = [view_layer_of(context, scene_of(context, placement, job_name)), *markers.seen_view_layers()]
    in_use = [view_layer.objects.active for view_layer in view_layers]
    if placement.target is not None:
        thing = target.find(placement.target)
        comes = f"The {what} is ready: it comes onto “{thing.name if thing is not None else placement.target.name}”"
        in_use.insert(0, editor_of(thing) if thing is not None else None)
    for each in in_use:
        if each is not None and each.mode != "OBJECT":
            mode = each.bl_rna.properties["mode"].enum_items[each.mode].name
            return f"{comes} when you leave {mode}."
    work = work_of_blender()
    if work:
        return f"{comes} when the {work} is done."
    if any(
        operator.bl_idname.startswith("TRANSFORM_OT") or "_move" in operator.bl_idname
        for window in context.window_manager.windows
        for operator in window.modal_operators
    ):
        return f"{comes} when you have finished the transformation."
    return ""


def is_in_use() -> bool:
    """Whether Blender computes something of the scene, which must not change meanwhile."""
    return bool(work_of_blender())


def work_of_blender() -> str:
    """What Blender computes of the scene: a render, or what locks the interface, such as a bake of a simulation or an
    export that runs beside; empty if nothing."""
    if bpy.app.is_job_running("RENDER"):
        return "render"
    is_locked = bpy.context.window_manager.is_interface_locked or bpy.app.is_job_running("OBJECT_BAKE")
    return "bake, import or export" if is_locked else ""
