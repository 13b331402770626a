"""Makes a material shine with its base colour, so that Cycles bakes the colour and no light, gloss or metal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import bpy

_COMBINE = {"ShaderNodeMixShader", "ShaderNodeAddShader"}
_PASS_ON = {"NodeReroute", "NodeGroupInput"}


def has_nodes(material: bpy.types.Material | None) -> bool:
    """Whether a material's look is that of its nodes; from Blender 5.0 on every material's is."""
    if material is None or material.node_tree is None:
        return False
    return bpy.app.version >= (5, 0, 0) or material.use_nodes


def shine(material: bpy.types.Material) -> list[bpy.types.NodeTree]:
    """Replace every shader in a material's nodes by an emission of its base colour, also in its node groups.

    What is transparent, in a mix with something else, counts as that. Only for copies of materials: their node groups
    are replaced by copies, which are returned and are the caller's to remove.
    """
    assert material.node_tree is not None
    return list(_shine(material.node_tree))


def _shine(tree: bpy.types.NodeTree) -> Iterator[bpy.types.NodeTree]:
    for node in list(tree.nodes):
        if getattr(node, "node_tree", None) is not None and any(output.type == "SHADER" for output in node.outputs):
            node.node_tree = node.node_tree.copy()
            yield node.node_tree
            yield from _shine(node.node_tree)
        elif node.bl_idname == "ShaderNodeShaderToRGB":
            _take_for_colour(tree, node)
    alphas = [
        node.outputs["Alpha"]
        for node in tree.nodes
        if node.bl_idname == "ShaderNodeTexImage" and node.outputs["Alpha"].is_linked
    ]
    for node in list(tree.nodes):
        if node.bl_idname == "ShaderNodeMixShader":
            _ignore_transparency(node)
    for node in list(tree.nodes):
        if _is_shader(node):
            _replace(tree, node, alphas)


def _is_shader(node: bpy.types.Node) -> bool:
    if node.bl_idname in _COMBINE | _PASS_ON or getattr(node, "node_tree", None) is not None:
        return False
    return any(output.type == "SHADER" for output in node.outputs)


def _replace(tree: bpy.types.NodeTree, node: bpy.types.Node, alphas: Sequence[bpy.types.NodeSocket]) -> None:
    emission = tree.nodes.new("ShaderNodeEmission")
    colour = _colour_of(tree, node)
    if colour is not None:
        tree.links.new(colour, emission.inputs["Color"])
        _use(tree, emission, alphas)
    else:
        emission.inputs["Strength"].default_value = 0.0
    targets = [link.to_socket for output in node.outputs if output.type == "SHADER" for link in output.links]
    for target in targets:
        tree.links.new(emission.outputs[0], target)


def _use(tree: bpy.types.NodeTree, emission: bpy.types.Node, alphas: Sequence[bpy.types.NodeSocket]) -> None:
    """Let an emission be as strong as before whatever these alphas are: colours of images whose alpha nothing uses any
    more are multiplied by it."""
    total = None
    for alpha in alphas:
        total = alpha if total is None else _computed(tree, "ADD", alpha, total)
    if total is not None:
        tree.links.new(_computed(tree, "GREATER_THAN", total), emission.inputs["Strength"])


def _computed(
    tree: bpy.types.NodeTree, operation: str, first: bpy.types.NodeSocket, second: bpy.types.NodeSocket | None = None
) -> bpy.types.NodeSocket:
    """The output of a new Math node; without a second input that is −1."""
    node = tree.nodes.new("ShaderNodeMath")
    node.operation = operation
    tree.links.new(first, node.inputs[0])
    if second is not None:
        tree.links.new(second, node.inputs[1])
    else:
        node.inputs[1].default_value = -1.0
    return node.outputs[0]


def _colour_of(tree: bpy.types.NodeTree, node: bpy.types.Node) -> bpy.types.NodeSocket | None:
    """The output that has a shader's base colour, of a new node if need be; None for a shader that has no colour."""
    socket = colour_input(node)
    if socket is None:
        return None
    if socket.is_linked and not socket.links[0].is_muted:
        return socket.links[0].from_socket
    plain = tree.nodes.new("ShaderNodeRGB")
    plain.outputs[0].default_value = socket.default_value
    return plain.outputs[0]


def colour_input(node: bpy.types.Node) -> bpy.types.NodeSocket | None:
    """The input for a shader's base colour; None where it has none."""
    return node.inputs.get("Base Color") or node.inputs.get("Color")


def _take_for_colour(tree: bpy.types.NodeTree, node: bpy.types.Node) -> None:
    """Feed what a Shader to RGB node feeds from its shader's base colour: Cycles has no such node."""
    shader = node.inputs[0].links[0].from_node if node.inputs[0].is_linked else None
    colour = _colour_of(tree, shader) if shader is not None else None
    if colour is not None:
        for target in [link.to_socket for link in node.outputs["Color"].links]:
            tree.links.new(colour, target)


def _ignore_transparency(mix: bpy.types.Node) -> None:
    factor, first, second = mix.inputs
    is_transparent = [_is_transparent(each) for each in (first, second)]
    if any(is_transparent):
        for link in list(factor.links):
            link.id_data.links.remove(link)
        factor.default_value = float(is_transparent[0])


def _is_transparent(socket: bpy.types.NodeSocket) -> bool:
    return socket.is_linked and socket.links[0].from_node.bl_idname == "ShaderNodeBsdfTransparent"
