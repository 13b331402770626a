"""Which of a mesh's UV maps is taken where no name says it.

Materials of ours name their map, but much of Blender does not read that: the UV Editor, Solid shading with textures,
and the OBJ and PLY exporters take the active map, materials without a name the one with the camera icon
(`active_render`), and the USD exporter mixes them up where they differ. Readers of FBX files take the first one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import bpy

from . import origin

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

_PINS = ".pn."
"""With a UV map's name, the attribute in which Blender notes its pins."""

_MEANWHILE = "SDI moved"
"""A short name: Blender cuts long ones."""


def active(mesh: bpy.types.Mesh) -> str:
    """The name of the active UV map; empty without one."""
    return mesh.uv_layers.active.name if mesh.uv_layers.active is not None else ""


def rendered(mesh: bpy.types.Mesh) -> str:
    """The name of the UV map of materials that name none; empty without one."""
    return next((layer.name for layer in mesh.uv_layers if layer.active_render), "")


def activate(mesh: bpy.types.Mesh, edited: str, shown: str) -> None:
    """Make one UV map the active one, and one that of materials that name none. The mesh is not in Edit Mode.

    A name that is not there changes nothing.
    """
    if edited in mesh.uv_layers:
        mesh.uv_layers.active = mesh.uv_layers[edited]
    if shown in mesh.uv_layers:
        mesh.uv_layers[shown].active_render = True


def asked_for(mesh: bpy.types.Mesh, materials: Iterable[bpy.types.Material | None]) -> set[str]:
    """The names of those of a mesh's UV maps that materials show something on."""
    found: set[str] = set()
    trees = [material.node_tree for material in materials if material is not None and material.node_tree is not None]
    seen = set(trees)
    while trees:
        for node in trees.pop().nodes:
            inner = getattr(node, "node_tree", None)
            if inner is not None and inner not in seen:
                seen.add(inner)
                trees.append(inner)
            found |= {name or rendered(mesh) for name in _asked_by(node)}
    return found & set(mesh.uv_layers.keys())


def _asked_by(node: bpy.types.Node) -> set[str]:
    """The name of the UV map that a node takes; "" for that of materials that name none."""
    kind = node.bl_idname
    if kind == "ShaderNodeTexImage":
        return set() if node.inputs["Vector"].is_linked else {""}
    if kind == "ShaderNodeTexCoord":
        return {""} if node.outputs["UV"].is_linked else set()
    takes_one = {
        "ShaderNodeUVMap": lambda: True,
        "ShaderNodeNormalMap": lambda: node.space == "TANGENT",
        "ShaderNodeTangent": lambda: node.direction_type == "UV_MAP",
    }
    if kind in takes_one and takes_one[kind]():
        return {node.uv_map}
    if kind == "ShaderNodeAttribute" and node.attribute_name:
        return {node.attribute_name}
    return set()


def put_first(mesh: bpy.types.Mesh, name: str) -> None:
    """Let a UV map of a mesh that is not in Edit Mode change places with the first one."""
    layers = mesh.uv_layers
    first, other = layers[0].name, layers.find(name)
    if other == 0:
        return
    flags = active(mesh), rendered(mesh)
    contents = {each: (_values(layers[each]), _pins(mesh, each)) for each in (first, name)}
    layers[other].name = _MEANWHILE  # no two have the same name
    layers[0].name, layers[other].name = name, first
    for each, (values, pins) in contents.items():
        layers[each].uv.foreach_set("vector", values)
        _pin(mesh, each, pins)
    activate(mesh, *flags)
    mesh.update()


def _values(layer: bpy.types.MeshUVLoopLayer) -> np.ndarray:
    """(2 L,) float32."""
    import numpy as np

    values = np.empty(2 * len(layer.uv), np.float32)
    layer.uv.foreach_get("vector", values)
    return values


def _pins(mesh: bpy.types.Mesh, name: str) -> np.ndarray | None:
    """(L,) bool, which corners of a UV map are pinned; None if none ever was."""
    import numpy as np

    noted = mesh.attributes.get(_PINS + name)
    if noted is None:
        return None
    pins = np.empty(len(noted.data), bool)
    noted.data.foreach_get("value", pins)
    return pins


def _pin(mesh: bpy.types.Mesh, name: str, pins: np.ndarray | None) -> None:
    noted = mesh.attributes.get(_PINS + name)
    if pins is None and noted is not None:  # of the map that had this place
        mesh.attributes.remove(noted)
    elif pins is not None:
        noted = noted or mesh.attributes.new(_PINS + name, "BOOLEAN", "CORNER")
        noted.data.foreach_set("value", pins)


def not_first(thing: bpy.types.Object) -> str:
    """The name of the UV map of a texture of ours that an object shows; empty if it is the mesh's first."""
    if thing.type != "MESH":
        return ""
    layers = thing.data.uv_layers
    for material in (slot.material for slot in thing.material_slots):
        if material is None or origin.PROMPT not in material or material.node_tree is None:
            continue
        for node in material.node_tree.nodes:
            if node.bl_idname == "ShaderNodeUVMap" and layers.find(node.uv_map) > 0:
                return node.uv_map
    return ""
