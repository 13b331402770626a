"""Imports a job's mesh.glb into the scene, tidied up as an artist wants it.

Blender's own importer reads the file into a temporary scene that is removed afterwards, so the current mode and
selection do not matter, and no empties or wrappers are left behind.
"""

from __future__ import annotations

import addon_utils
import bpy
from mathutils import Matrix, Vector

from ..jobs.inspection import UnsoundFileError, check_glb
from ..jobs.placement import Placement
from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.files import is_there
from . import markers, origin, quads, textures
from .collection import collection_in
from .destination import scene_of, view_layer_of
from .names import object_name
from .temporary_scene import temporary_scene
from .units import metres_in

_GLTF = "io_scene_gltf2"
_SMALLEST_SCALE = 1e-6

NORMAL_MAP_SUFFIX = "-normal"


class ImportFailedError(Exception):
    """The result cannot be imported into the scene; `str(error)` is one sentence with cause and cure."""


def put_into_scene(context: bpy.types.Context, folder: JobFolder, placement: Placement) -> bpy.types.Object:
    """Import the job's object where its marker is, or, if the file has no marker, at the placement; returns it.

    In Object Mode it becomes the only selected object and the active one; in any other mode the selection stays as it
    is. The marker and the live mesh are removed. The caller makes the undo step. Call it again for another copy.

    Raises:
        ImportFailedError: there is no mesh, or it cannot be read.
    """
    scene = scene_of(context, placement, folder.path.name)
    view_layer = view_layer_of(context, scene)
    try:
        request = folder.request()
    except EngineError as error:
        raise ImportFailedError(str(error)) from error
    placed = _load(context, folder)
    _name(placed, request.prompt, folder)
    matrix = markers.matrix_of(folder.path.name) or markers.matrix_from(placement)
    _stand(placed, matrix, 1.0 / metres_in(scene))
    _clean(placed.data)
    if request.quads:
        quads.join_triangles(placed.data)
    textures.show_in_solid_shading(placed)
    origin.describe(placed, folder, request)
    collection_in(scene).objects.link(placed)
    markers.remove(folder.path.name)
    _select(placed, view_layer)
    return placed


def _load(context: bpy.types.Context, folder: JobFolder) -> bpy.types.Object:
    """The file's only mesh object, not in any scene yet."""
    if not is_there(folder.mesh_file):
        raise ImportFailedError(f'The job in "{folder.path}" has no mesh.glb: run it again.')
    try:
        check_glb(folder.mesh_file)
    except UnsoundFileError as error:
        raise ImportFailedError(_unreadable(folder, str(error))) from error
    _, is_enabled = addon_utils.check(_GLTF)  # as it is by default; to enable it again closes its open dialogs
    if not is_enabled and addon_utils.enable(_GLTF) is None:
        raise ImportFailedError(
            f'Blender\'s add-on "{_GLTF}", which reads the mesh, cannot be enabled: install Blender again.'
        )
    with temporary_scene(context, "SDI import") as scene:
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


def _unreadable(folder: JobFolder, detail: str) -> str:
    cause = next((line.strip() for line in reversed(detail.splitlines()) if line.strip()), "no reason given")
    return f'The mesh in "{folder.mesh_file}" cannot be read ({cause}): run the job again.'


def _name(placed: bpy.types.Object, prompt: str, folder: JobFolder) -> None:
    name = object_name(prompt)
    placed.name = name
    placed.data.name = name
    for material in placed.data.materials:
        material.name = name
        for node in textures.nodes_of(material):
            inputs = set(textures.shader_inputs(node))
            textures.name(node.image, prompt, folder, NORMAL_MAP_SUFFIX if inputs == {"Normal"} else "")
            if textures.is_colour(node):
                material.node_tree.nodes.active = node  # Solid shading shows the active node's image as texture


def _stand(placed: bpy.types.Object, matrix: Matrix, scale: float) -> None:
    """Put location and rotation into the object and all scaling into its mesh, so that the object's scale is 1.

    Args:
        placed: the imported object.
        matrix: world matrix of the centre of its base.
        scale: from the file's units to the scene's.
    """
    location, rotation, _ = matrix.decompose()
    if min(map(abs, matrix.to_scale())) < _SMALLEST_SCALE:  # of a marker scaled to 0 only the location is used
        matrix, rotation = Matrix.Translation(location), Matrix.Identity(3).to_quaternion()
    upright = Matrix.LocRotScale(location, rotation, None)
    into_mesh = upright.inverted() @ matrix @ Matrix.Scale(scale, 4) @ placed.matrix_world
    placed.data.transform(into_mesh)
    if into_mesh.determinant() < 0.0:
        placed.data.flip_normals()
    placed.matrix_world = Matrix.Identity(4)
    placed.rotation_mode = "XYZ"
    placed.location = location
    placed.rotation_euler = rotation.to_euler()


def _clean(mesh: bpy.types.Mesh) -> None:
    mesh.shade_smooth()
    mesh.update()
    for material in mesh.materials:
        material.use_backface_culling = False
        for node in textures.nodes_of(material):
            _set_colour_space(node)


def _set_colour_space(node: bpy.types.ShaderNodeTexImage) -> None:
    """Mark the image of a colour as sRGB, and that of anything else, such as roughness or normals, as data."""
    space = node.image.colorspace_settings
    if textures.is_colour(node):
        if space.is_data:
            space.name = "sRGB"
    elif not space.is_data and any(textures.shader_inputs(node)):
        space.is_data = True


def _select(placed: bpy.types.Object, view_layer: bpy.types.ViewLayer) -> None:
    active = view_layer.objects.active  # reading this updates the list of objects, which the next line needs
    if placed.name not in view_layer.objects:  # the collection is excluded from this view layer
        return
    if active is not None and active.mode != "OBJECT":
        placed.select_set(False, view_layer=view_layer)
        return
    for selected in list(view_layer.objects.selected):
        selected.select_set(False, view_layer=view_layer)
    placed.select_set(True, view_layer=view_layer)
    view_layer.objects.active = placed


def bounds(placed: bpy.types.Object) -> tuple[Vector, Vector]:
    """The lowest and the highest corner of the object's bounding box, in its own space."""
    corners = [Vector(corner) for corner in placed.bound_box]
    low = Vector(map(min, zip(*corners, strict=True)))
    high = Vector(map(max, zip(*corners, strict=True)))
    return low, high
