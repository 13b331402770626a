"""Triangles joined to quads, which are easier to edit and to subdivide."""

from __future__ import annotations

import math

import bmesh
import bpy

_BEND = math.radians(40.0)
_SKEW = math.radians(50.0)
"""The most that two triangles may be bent against each other, and a quad's corners may differ from right angles."""


def join_triangles(mesh: bpy.types.Mesh) -> None:
    """Make quads of triangles wherever two make a good one, the best first; UV map and materials stay as they are."""
    edited = bmesh.new()
    try:
        edited.from_mesh(mesh)
        bmesh.ops.join_triangles(
            edited,
            faces=edited.faces[:],
            cmp_uvs=True,
            cmp_materials=True,
            angle_face_threshold=_BEND,
            angle_shape_threshold=_SKEW,
        )
        edited.to_mesh(mesh)
    finally:
        edited.free()
    mesh.update()
