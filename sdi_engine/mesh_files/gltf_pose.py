"""Vertices of a glTF file as its morph targets and joints have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gltf_arrays import array
from .gltf_file import GltfFile


def morphed(file: GltfFile, primitive: Any, attribute: str, weights: Sequence[float]) -> NDArray[np.float64]:
    """The values (V, width) of an attribute, with those of the morph targets added by their weights."""
    values = array(file, primitive["attributes"][attribute]).astype(np.float64)
    for weight, target in zip(weights, primitive.get("targets", []), strict=False):
        if weight and attribute in target:
            values += weight * array(file, target[attribute])
    return values


def skinned(
    file: GltfFile,
    primitive: Any,
    vertices: NDArray[np.float64],
    skin: int,
    worlds: Mapping[int, NDArray[np.float64]],
) -> tuple[NDArray[np.float64], bool]:
    """The vertices (V, 3) in the world as the joints hold them, and whether that turns triangles over.

    glTF 2.0, 3.7.3: each is moved by the weighted sum of the joints' matrices times their inverse bind matrices, and
    the transform of the node that has the mesh plays no part.

    Args:
        vertices: (V, 3), of the mesh.
        worlds: from each node to the world, (4, 4).
    """
    described = file.document["skins"][skin]
    joints = np.stack([worlds[joint] for joint in described["joints"]])
    if "inverseBindMatrices" in described:
        inverse = array(file, described["inverseBindMatrices"]).astype(np.float64)
        joints = joints @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
    attributes = primitive["attributes"]
    joint, weight = (
        np.concatenate([array(file, attributes[f"{kind}_{each}"]) for each in range(_sets(attributes))], axis=1)
        for kind in ("JOINTS", "WEIGHTS")
    )
    weight = weight.astype(np.float64)
    weight[weight.sum(axis=1) <= 0.0, 0] = 1.0  # a vertex that nothing holds would lie at the origin
    weight /= weight.sum(axis=1, keepdims=True)
    moves = np.zeros((len(vertices), 3, 4))
    for column in range(weight.shape[1]):
        moves += weight[:, column, None, None] * joints[joint[:, column].astype(np.int64), :3]
    placed = np.einsum("vij,vj->vi", moves[:, :, :3], vertices) + moves[:, :, 3]
    return placed, bool(np.median(np.linalg.det(moves[:, :, :3])) < 0.0)


def _sets(attributes: Any) -> int:
    """How many joints, divided by four, may hold a vertex."""
    count = 0
    while f"JOINTS_{count}" in attributes and f"WEIGHTS_{count}" in attributes:
        count += 1
    return count
