"""Bakes the base colour of a mesh's materials, whatever their nodes are, with Cycles in a scene of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import bpy
from mathutils import Matrix

from .emission import has_nodes, shine
from .temporary_scene import temporary_scene

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

_NAME = "SDI base colour"
GREY = (0.8, 0.8, 0.8, 1.0)
"""What Blender shows where there is no material."""
_MARGIN = 16
"""Pixels by which the colours go on beyond the edge of an island of the UV map."""


class BakeFailedError(Exception):
    """The base colour cannot be baked; `str(error)` says why, as a part of a sentence."""


def bake_picture(
    context: bpy.types.Context, mesh: bpy.types.Mesh, place: Matrix, uv_name: str, size: int
) -> np.ndarray:
    """The base colour on a UV map inside of 0…1, (size, size, 3) uint8, sRGB, row 0 at v = 1.

    Args:
        context: the frame of its scene counts for what is animated.
        mesh: a mesh of our own; its materials are replaced.
        place: its world matrix.
        uv_name: the UV map.
        size: edge of the picture in pixels.

    Raises:
        BakeFailedError: Cycles is not enabled, or fails.
    """
    import numpy as np

    with ExitStack() as stack:
        image = bpy.data.images.new(_NAME, size, size, alpha=False)
        stack.callback(bpy.data.images.remove, image)
        _bake(context, mesh, place, image, stack, target="IMAGE_TEXTURES", uv_layer=uv_name, margin=_MARGIN)
        pixels = np.empty(4 * size * size, np.float32)
        image.pixels.foreach_get(pixels)
    return (pixels.reshape(size, size, 4)[::-1, :, :3] * 255.0).round().clip(0, 255).astype(np.uint8)


def bake_corners(context: bpy.types.Context, mesh: bpy.types.Mesh, place: Matrix) -> np.ndarray:
    """The base colour of every corner, (L, 3) uint8, sRGB; arguments and errors as of `bake_picture`."""
    import numpy as np

    layer = mesh.color_attributes.new(_NAME, "BYTE_COLOR", "CORNER")
    mesh.color_attributes.active_color = layer
    name = layer.name
    with ExitStack() as stack:
        _bake(context, mesh, place, None, stack, target="VERTEX_COLORS")
    colours = np.empty(4 * len(mesh.loops), np.float32)
    mesh.color_attributes[name].data.foreach_get("color_srgb", colours)
    return (colours.reshape(-1, 4)[:, :3] * 255.0).round().clip(0, 255).astype(np.uint8)


def _bake(
    context: bpy.types.Context,
    mesh: bpy.types.Mesh,
    place: Matrix,
    image: bpy.types.Image | None,
    stack: ExitStack,
    **how: object,
) -> None:
    """Bake with Cycles; what is made for it goes when the stack is closed."""
    frame, part_of_frame = context.scene.frame_current, context.scene.frame_subframe
    _replace_materials(mesh, image, stack)
    scene = stack.enter_context(temporary_scene(context, _NAME))
    try:
        scene.render.engine = "CYCLES"
    except TypeError as error:
        raise BakeFailedError("Cycles, which bakes it, is not enabled among the add-ons") from error
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False
    scene.cycles.device = "CPU"
    scene.frame_set(frame, subframe=part_of_frame)
    placed = bpy.data.objects.new(_NAME, mesh)
    stack.callback(bpy.data.objects.remove, placed)
    placed.matrix_world = place
    scene.collection.objects.link(placed)
    scene.view_layers[0].update()
    only = {"active_object": placed, "object": placed, "selected_objects": [placed]}
    with context.temp_override(**only, selected_editable_objects=[placed]):
        try:
            bpy.ops.object.bake(type="EMIT", use_clear=True, save_mode="INTERNAL", **how)
        except RuntimeError as error:
            raise BakeFailedError(f"Cycles says: {str(error).strip()}") from error


def _replace_materials(mesh: bpy.types.Mesh, image: bpy.types.Image | None, stack: ExitStack) -> None:
    """Give a mesh copies of its materials that shine with their base colour, and have `image` as the one to bake."""
    if not mesh.materials:
        mesh.materials.append(None)
    for slot, material in enumerate(list(mesh.materials)):
        mesh.materials[slot] = _shining(material, image, stack)


def _shining(
    material: bpy.types.Material | None, image: bpy.types.Image | None, stack: ExitStack
) -> bpy.types.Material:
    shining = material.copy() if material is not None else bpy.data.materials.new(_NAME)
    stack.callback(bpy.data.materials.remove, shining)
    if has_nodes(material):
        for group in shine(shining):
            stack.callback(bpy.data.node_groups.remove, group)
    else:
        if bpy.app.version < (5, 0, 0):
            shining.use_nodes = True
        _shine_plainly(shining.node_tree, material.diffuse_color if material is not None else GREY)
    if image is not None:
        nodes = shining.node_tree.nodes
        nodes.active = nodes.new("ShaderNodeTexImage")
        nodes.active.image = image
    return shining


def _shine_plainly(tree: bpy.types.NodeTree, colour: Sequence[float]) -> None:
    tree.nodes.clear()
    emission = tree.nodes.new("ShaderNodeEmission")
    emission.inputs["Color"].default_value = colour
    tree.links.new(emission.outputs[0], tree.nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
