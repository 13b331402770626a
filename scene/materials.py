"""New materials with a Principled BSDF, as all of ours have."""

from __future__ import annotations

import bpy

ROUGHNESS = 0.8
"""As the engine's exports have it: diffusion models paint most things matt, with the highlights in the colour."""


def principled(name: str) -> tuple[bpy.types.Material, bpy.types.ShaderNodeBsdfPrincipled]:
    """A new material of nodes, and its shader."""
    material = bpy.data.materials.new(name)
    if material.node_tree is None:  # before Blender 5.0
        material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")
    shader.inputs["Roughness"].default_value = ROUGHNESS
    return material, shader


def connect_colour(
    material: bpy.types.Material, node: bpy.types.Node, shader: bpy.types.ShaderNodeBsdfPrincipled
) -> None:
    """Make a node's colour the shader's base colour, and put the node beside it."""
    node.location = shader.location.x - node.width - 60.0, shader.location.y
    material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
