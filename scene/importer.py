"""A job's mesh.glb into the scene, as an artist would want to find it.

Blender's own importer reads the file, but into a scene of its own that is thrown away afterwards: so neither the
person's mode nor the selection matter to it, and no empties or wrappers are left behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import addon_utils
import bpy
from mathutils import Matrix, Vector

from ..jobs.placement import Placement
from ..sdi_engine.job_folder import JobFolder
from .collection import collection_in
from .moment import scene_of, view_layer_of

MAX_NAME_BYTES = 63

_NOTHING = dict.fromkeys(
    (
        "active_object",
        "edit_object",
        "image_paint_object",
        "object",
        "particle_edit_object",
        "pose_object",
        "sculpt_object",
        "vertex_paint_object",
        "weight_paint_object",
    )
)


class ImportFailedError(Exception):
    """The result cannot be brought into the scene; `str(error)` is one sentence with cause and cure."""


def put_into_scene(context: bpy.types.Context, folder: JobFolder, placement: Placement) -> bpy.types.Object:
    """The job's object, standing with the centre of its base at the placement's location.

    In Object Mode it becomes the one selected, active object; in any other mode the selection stays as it is.
    The caller makes the undo step.

    Raises:
        ImportFailedError: there is no mesh, or it cannot be read.
    """
    scene = scene_of(context, placement)
    view_layer = view_layer_of(context, scene)
    request = folder.request()
    placed = _load(context, folder)
    _name(placed, request.prompt)
    _apply_transforms(placed, 1.0 / scene.unit_settings.scale_length)
    _clean(placed.data)
    placed.location = placement.location
    _describe(placed, folder)
    collection_in(scene).objects.link(placed)
    _select(placed, view_layer)
    return placed


def object_name(prompt: str) -> str:
    """The prompt as a name: as much of it as Blender takes, cut between characters."""
    return prompt.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", errors="ignore").strip()


def _load(context: bpy.types.Context, folder: JobFolder) -> bpy.types.Object:
    """The only mesh object of the file, in no scene."""
    if not folder.mesh_file.is_file():
        raise ImportFailedError(f'The job in "{folder.path}" has no mesh.glb: run it again.')
    addon_utils.enable("io_scene_gltf2")  # Blender's own, on by default; nothing happens where it is on
    with _temporary_scene(context) as scene:
        try:
            bpy.ops.import_scene.gltf(
                filepath=str(folder.mesh_file), import_shading="SMOOTH", merge_vertices=True, import_pack_images=True
            )
        except RuntimeError as error:
            raise ImportFailedError(_unreadable(folder, str(error))) from error
        scene.view_layers[0].update()
        meshes = [each for each in scene.objects if each.type == "MESH"]
        if len(meshes) != 1:
            raise ImportFailedError(_unreadable(folder, f"it has {len(meshes)} meshes, not one"))
        placed = meshes[0]
        world = placed.matrix_world.copy()
        placed.parent = None
        placed.matrix_world = world
        for collection in placed.users_collection:
            collection.objects.unlink(placed)
    return placed


@contextmanager
def _temporary_scene(context: bpy.types.Context) -> Iterator[bpy.types.Scene]:
    """A scene that is the context's, with no object in it; it goes, with everything that is still in it."""
    scene = bpy.data.scenes.new("SDI import")
    view_layer = scene.view_layers[0]
    try:
        with context.temp_override(
            scene=scene,
            view_layer=view_layer,
            collection=scene.collection,
            layer_collection=view_layer.layer_collection,
            selected_objects=[],
            **_NOTHING,
        ):
            yield scene
    finally:
        for leftover in list(scene.collection.all_objects):
            data = leftover.data
            bpy.data.objects.remove(leftover)
            if isinstance(data, bpy.types.Mesh) and not data.users:
                bpy.data.meshes.remove(data)
        for collection in list(scene.collection.children_recursive):
            bpy.data.collections.remove(collection)
        bpy.data.scenes.remove(scene)


def _unreadable(folder: JobFolder, detail: str) -> str:
    cause = next((line.strip() for line in reversed(detail.splitlines()) if line.strip()), "no reason given")
    return f'The mesh in "{folder.mesh_file}" cannot be read ({cause}): run the job again.'


def _name(placed: bpy.types.Object, prompt: str) -> None:
    name = object_name(prompt)
    placed.name = name
    placed.data.name = name
    for material in placed.data.materials:
        material.name = name
        for node in material.node_tree.nodes:
            if node.bl_idname == "ShaderNodeTexImage" and node.image is not None:
                node.image.name = name
                material.node_tree.nodes.active = node  # which is what Solid shading shows as texture


def _apply_transforms(placed: bpy.types.Object, scale: float) -> None:
    """Rotation and scale into the mesh, whatever the file's nodes did, so that the artist starts from 0, 0, 0 and 1."""
    placed.data.transform(Matrix.Scale(scale, 4) @ placed.matrix_world)
    placed.matrix_world = Matrix.Identity(4)
    placed.rotation_mode = "XYZ"


def _clean(mesh: bpy.types.Mesh) -> None:
    mesh.shade_smooth()
    mesh.update()
    for material in mesh.materials:
        material.use_backface_culling = False


def _describe(placed: bpy.types.Object, folder: JobFolder) -> None:
    """Say in custom properties how the object came about, so that it can be made again."""
    request = folder.request()
    settings: dict[str, Any] = json.loads(request.to_json())
    settings |= (folder.result() or {}).get("settings") or {}
    placed["sdi_prompt"] = request.prompt
    placed["sdi_seed"] = request.seed
    placed["sdi_model"] = request.model
    placed["sdi_settings"] = json.dumps(settings, ensure_ascii=False)
    placed["sdi_job_folder"] = str(folder.path)


def _select(placed: bpy.types.Object, view_layer: bpy.types.ViewLayer) -> None:
    view_layer.update()  # or it does not know of the object yet
    if placed.name not in view_layer.objects:  # the person has excluded the collection from this view layer
        return
    active = view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        placed.select_set(False, view_layer=view_layer)
        return
    for selected in list(view_layer.objects.selected):
        selected.select_set(False, view_layer=view_layer)
    placed.select_set(True, view_layer=view_layer)
    view_layer.objects.active = placed


def bounds(placed: bpy.types.Object) -> tuple[Vector, Vector]:
    """The lowest and the highest corner of the object's mesh, in its own space."""
    corners = [Vector(corner) for corner in placed.bound_box]
    low = Vector(map(min, zip(*corners, strict=True)))
    high = Vector(map(max, zip(*corners, strict=True)))
    return low, high
