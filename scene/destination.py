"""When a result may come into the scene: not while the person is in the middle of something."""

from __future__ import annotations

import bpy

from ..jobs.placement import Placement

_RENDER_JOBS = ("RENDER", "OBJECT_BAKE")


def scene_of(context: bpy.types.Context, placement: Placement) -> bpy.types.Scene:
    """The scene in which Generate was pressed, or, where that is gone, the one that is shown."""
    return local_scene(context, placement.scene)


def local_scene(context: bpy.types.Context, name: str = "") -> bpy.types.Scene:
    """The scene of this name, else the one that is shown, else any: of this file, since linked ones cannot be changed.

    Blender sees to it that a file has a scene of its own.
    """
    named = bpy.data.scenes.get((name, None))
    wanted = (each for each in (named, context.scene, *bpy.data.scenes) if each is not None)
    return next(each for each in wanted if each.library is None)


def view_layer_of(context: bpy.types.Context, scene: bpy.types.Scene) -> bpy.types.ViewLayer:
    """The view layer of the scene that a window shows, or else its first."""
    for window in context.window_manager.windows:
        if window.scene == scene:
            return window.view_layer
    return scene.view_layers[0]


def reason_to_wait(context: bpy.types.Context, placement: Placement) -> str:
    """What the person is to do first, as one sentence; empty where the result may come now.

    In a mode other than Object Mode each mode keeps an undo history of its own, in which a new object would be lost:
    so the result waits, and nobody is thrown out of what he is doing.
    """
    scene = scene_of(context, placement)
    active = view_layer_of(context, scene).objects.active
    if active is not None and active.mode != "OBJECT":
        mode = active.bl_rna.properties["mode"].enum_items[active.mode].name
        return f"The object is ready: it comes into the scene when you leave {mode}."
    if is_rendering():
        return "The object is ready: it comes into the scene when the render is done."
    if any(
        operator.bl_idname.startswith("TRANSFORM_OT") or "_move" in operator.bl_idname
        for window in context.window_manager.windows
        for operator in window.modal_operators
    ):
        return "The object is ready: it comes into the scene when you have finished moving."
    return ""


def is_rendering() -> bool:
    """Whether Blender renders or bakes: what it works on had better stay as it is."""
    return any(bpy.app.is_job_running(kind) for kind in _RENDER_JOBS)
