"""A normal map that the engine baked, in Blender: imported as one, and lighting the surface as the fine one is."""

import math

import numpy as np
import pytest
import trimesh
from made_jobs import PROMPT, make_job

from sdi_engine.mesh.bake import Canvas
from sdi_engine.mesh.export import standing_on_ground, write_glb
from sdi_engine.mesh.normal_map import FineNormals, bake_normals, tangents_of
from sdi_engine.mesh.unwrap import UnwrappedMesh, unwrap

SIZE = 256


@pytest.fixture(scope="module")
def coarse_ball():
    """80 triangles with the normals of a ball, unwrapped."""
    axis = np.linspace(-1.0, 1.0, 48)
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(axis, axis, axis, indexing="ij")))
    density = (60.0 / (1.0 + np.exp((radius - 0.6) / 0.02))).astype(np.float32)
    mesh = unwrap(trimesh.creation.icosphere(1, 0.6), SIZE, 2)
    return mesh, bake_normals(FineNormals(density, 30.0, 2.0 / 47, np.full(3, -1.0, np.float32)), Canvas.of(mesh, SIZE))


@pytest.fixture
def put(bpy, extension, results, coarse_ball):
    mesh, normals = coarse_ball
    folder = make_job(extension, results)
    standing = UnwrappedMesh(standing_on_ground(mesh.vertices, 1.0), mesh.normals, mesh.faces, mesh.uv)
    albedo = np.full((SIZE, SIZE, 3), (200, 30, 30), np.uint8)
    write_glb(folder.mesh_file, standing, albedo, PROMPT, normals)
    extension.jobs.inspection.check_glb(folder.mesh_file)
    return extension.scene.importer.put_into_scene(bpy.context, folder, extension.jobs.placement.Placement())


def test_it_comes_as_a_normal_map_beside_the_colour(put, results):
    material = put.data.materials[0]
    images = {node.image.name: node for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeTexImage"}
    assert set(images) == {PROMPT, f"{PROMPT}-normal"}
    assert images[PROMPT].image.colorspace_settings.name == "sRGB"
    assert images[f"{PROMPT}-normal"].image.colorspace_settings.name == "Non-Color"
    assert images[f"{PROMPT}-normal"].outputs["Color"].links[0].to_node.bl_idname == "ShaderNodeNormalMap"
    assert material.node_tree.nodes.active == images[PROMPT], "which Solid shading shows"
    assert material.diffuse_color[0] > 0.5 > material.diffuse_color[2]
    assert {path.name for path in (results / "job-1" / "textures").iterdir()} == {
        f"{PROMPT}.png",
        f"{PROMPT}-normal.png",
    }


def test_blenders_tangents_are_those_that_it_was_baked_for(put, coarse_ball):
    """Vertices are welded by then: corners are found again by triangle and UV."""
    ours, mesh = coarse_ball[0], put.data
    mesh.calc_tangents()
    tangents = tangents_of(ours)
    centres = ours.uv[ours.faces].mean(axis=1)
    uvs = mesh.uv_layers.active.uv
    angles, sides = [], []
    for polygon in mesh.polygons:
        loops = list(polygon.loop_indices)
        centre = np.mean([uvs[loop].vector for loop in loops], axis=0)
        face = ours.faces[np.abs(centres - centre).sum(axis=1).argmin()]
        for loop in loops:
            vertex = min(face, key=lambda each: np.abs(ours.uv[each] - uvs[loop].vector).sum())
            theirs = np.array(mesh.loops[loop].tangent)
            angles.append(math.degrees(math.acos(np.clip(theirs @ tangents[vertex, :3], -1.0, 1.0))))
            sides.append(mesh.loops[loop].bitangent_sign == tangents[vertex, 3])
    assert max(angles) < 1.0
    assert all(sides)
