"""The light mesh that shows in the scene how an object grows, until the finished object replaces it.

Each job has one mesh object, a child of the job's marker. Updates replace its geometry in place, so that nothing piles
up in the file. They make no undo step and change neither selection nor mode.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bpy
from mathutils import Matrix

from ..jobs.inspection import UnsoundFileError, read_live_mesh
from ..jobs.placement import Placement
from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.errors import EngineError
from . import destination, markers, materials, textures
from .names import object_name
from .units import metres_in

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

COLOURS = "Color"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Geometry:
    """Attributes:
    vertices: (V, 3) float32; in metres in a job's file, in the scene's units in a mesh.
    faces: (F, 3) int32.
    colours: (V, 3) uint8, sRGB.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray


def show(context: bpy.types.Context, folder: JobFolder) -> bool:
    """Show the job's current state where its object will stand; returns whether there was something to show.

    A missing or damaged file is no error, since the next one may be complete. Does nothing while the scene is in use.
    """
    if destination.is_in_use():
        return False
    geometry = read(folder)
    if geometry is None:
        return False
    job_name, results = folder.path.name, str(folder.path.parent)
    mesh_object = markers.find(job_name, markers.LIVE)
    if mesh_object is not None and mesh_object.mode != "OBJECT":
        return False
    marker = markers.find(job_name)
    if marker is None:
        markers.tidy()
    placement = Placement() if marker is not None else Placement.read(folder) or Placement()
    scene = destination.scene_of(context, placement, job_name)
    if mesh_object is None:
        try:
            prompt = folder.request().prompt
        except EngineError as error:
            log.info("No live mesh, because the request cannot be read: %s", error)
            return False
        mesh_object = make(scene.collection, job_name, prompt, results)
    hang(mesh_object, marker, markers.matrix_from(placement))
    fill(mesh_object.data, geometry, 1.0 / metres_in(scene))
    return True


def make(
    collection: bpy.types.Collection, job_name: str, prompt: str, results: str, part: str = markers.LIVE
) -> bpy.types.Object:
    """A new live mesh without geometry in a collection; `part`: which of the job's helpers it is."""
    name = object_name(prompt, " (live)")
    mesh = bpy.data.meshes.new(name)
    material = _material(name)
    mesh.materials.append(material)
    mesh_object = bpy.data.objects.new(name, mesh)
    mesh_object[markers.PART], mesh_object[markers.RESULTS] = part, results
    for each in (mesh_object, mesh, material):
        each[markers.JOB] = job_name
    mesh_object.hide_select = True
    mesh_object.hide_render = True
    collection.objects.link(mesh_object)
    return mesh_object


def hang(mesh_object: bpy.types.Object, marker: bpy.types.Object | None, matrix: Matrix) -> None:
    """Parent the live mesh to the marker, or, without a marker, put it at a world matrix."""
    if mesh_object.parent != marker:
        mesh_object.parent = marker
        mesh_object.matrix_parent_inverse = Matrix.Identity(4)
        mesh_object.matrix_basis = Matrix.Identity(4)
    if marker is None:
        mesh_object.matrix_basis = matrix


def fill(mesh: bpy.types.Mesh, geometry: Geometry, scale: float = 1.0) -> None:
    """Replace the mesh's geometry, with vertices times `scale`."""
    import numpy as np

    vertices, faces, colours = geometry.vertices, geometry.faces, geometry.colours
    mesh.clear_geometry()
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(vertices * np.float32(scale), dtype=np.float32).ravel())
    mesh.loops.add(faces.size)
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(faces, dtype=np.int32).ravel())
    attribute = mesh.color_attributes.new(name=COLOURS, type="BYTE_COLOR", domain="POINT")
    opaque = np.concatenate([colours / np.float32(255.0), np.ones((len(colours), 1))], axis=1)
    attribute.data.foreach_set("color_srgb", opaque.astype(np.float32).ravel())
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    for material in mesh.materials:
        if material is not None and markers.JOB in material:
            material.diffuse_color = textures.linear(
                colours.mean(axis=0) / 255.0
            )  # the colour that Solid shading shows


def geometry_of(mesh: bpy.types.Mesh) -> Geometry | None:
    """The geometry that `fill` put into the mesh; None if the mesh has been changed since."""
    import numpy as np

    attribute = mesh.color_attributes.get(COLOURS)
    if attribute is None or len(attribute.data) != len(mesh.vertices) or len(mesh.loops) != 3 * len(mesh.polygons):
        return None
    vertices = np.empty(3 * len(mesh.vertices), dtype=np.float32)
    faces = np.empty(len(mesh.loops), dtype=np.int32)
    colours = np.empty(4 * len(mesh.vertices), dtype=np.float32)
    mesh.vertices.foreach_get("co", vertices)
    mesh.loops.foreach_get("vertex_index", faces)
    attribute.data.foreach_get("color_srgb", colours)
    whole = (colours.reshape(-1, 4)[:, :3] * 255.0 + 0.5).astype(np.uint8)
    return Geometry(vertices.reshape(-1, 3), faces.reshape(-1, 3), whole)


def read(folder: JobFolder) -> Geometry | None:
    """The geometry in a job's `live.npz`; None if there is none, or it is damaged."""
    import numpy as np

    try:
        mesh = read_live_mesh(folder.live_file)
    except (OSError, UnsoundFileError) as error:
        log.info("No live mesh in %s: %s", folder.path, error)
        return None
    kinds = ((mesh.vertices, "<f4"), (mesh.faces, "<i4"), (mesh.colours, "u1"))
    return Geometry(*(np.frombuffer(numbers, kind).reshape(-1, 3) for numbers, kind in kinds))


def _material(name: str) -> bpy.types.Material:
    """A Principled BSDF whose base colour is the colour attribute."""
    material, shader = materials.principled(name)
    colours = material.node_tree.nodes.new("ShaderNodeVertexColor")
    colours.layer_name = COLOURS
    materials.connect_colour(material, colours, shader)
    return material
