"""Where the meshes of a glTF file stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gltf_arrays import array
from .gltf_file import GltfFile

_INSTANCES = "EXT_mesh_gpu_instancing"

_PARTS = {"TRANSLATION": "translation", "ROTATION": "rotation", "SCALE": "scale"}
"""The arrays of instances, as nodes call the same."""


def world_matrices(document: Any) -> dict[int, NDArray[np.float64]]:
    """The matrix (4, 4) that leads from each node to the world.

    Raises:
        ValueError: a node is below two others, or below itself.
    """
    nodes = document.get("nodes", [])
    worlds: dict[int, NDArray[np.float64]] = {}
    left = [(number, np.eye(4)) for number in _without_parent(nodes)]
    while left:
        number, parent = left.pop()
        if number in worlds:
            raise ValueError("a node with two parents")
        worlds[number] = parent @ _own(nodes[number])
        left += [(child, worlds[number]) for child in nodes[number].get("children", [])]
    return worlds


def seen_nodes(document: Any) -> list[int]:
    """The numbers of the nodes of the scene that the file shows first, in its order, without those that it hides.

    All nodes where there is no scene.
    """
    nodes, scenes = document.get("nodes", []), document.get("scenes", [])
    roots = scenes[document.get("scene", 0)].get("nodes", []) if scenes else _without_parent(nodes)
    seen: list[int] = []
    left = list(reversed(roots))
    while left and len(seen) <= len(nodes):  # more than there are: a circle, which `world_matrices` refuses
        number = left.pop()
        if nodes[number].get("extensions", {}).get("KHR_node_visibility", {}).get("visible", True):
            seen.append(number)
            left += reversed(nodes[number].get("children", []))
    return seen


def instances(file: GltfFile, node: Any) -> Iterator[NDArray[np.float64]]:
    """The matrices (4, 4) at which a node's mesh stands below it: one, or those of its instances."""
    attributes = node.get("extensions", {}).get(_INSTANCES, {}).get("attributes")
    if attributes is None:
        yield np.eye(4)
        return
    parts = {name: array(file, number) for name, number in attributes.items() if name in _PARTS}
    for index in range(max((len(each) for each in parts.values()), default=0)):
        yield _matrix(**{_PARTS[name]: each[index] for name, each in parts.items()})


def _own(node: Any) -> NDArray[np.float64]:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    return _matrix(**{name: node[name] for name in _PARTS.values() if name in node})


def _matrix(
    translation: Sequence[float] = (0.0, 0.0, 0.0),
    rotation: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
    scale: Sequence[float] = (1.0, 1.0, 1.0),
) -> NDArray[np.float64]:
    """What scales, then turns by a quaternion (x, y, z, w), then moves."""
    x, y, z, w = np.asarray(rotation, np.float64) / max(float(np.linalg.norm(rotation)), 1e-30)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.asarray(scale, np.float64)
    matrix[:3, 3] = translation
    return matrix


def _without_parent(nodes: Sequence[Any]) -> list[int]:
    below = {child for node in nodes for child in node.get("children", [])}
    return [number for number in range(len(nodes)) if number not in below]
