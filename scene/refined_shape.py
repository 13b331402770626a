"""Puts the shape that a job has refined onto its object, as a shape key: its slider goes from the shape of before to
the new one.

A job knows its mesh in world space, as modifiers and parents left it. A shape key moves the mesh's own vertices, which
modifiers then take to where they are seen. So the movement is taken back through both; `behind_modifiers` checks it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bpy
from mathutils import Matrix

from ..jobs.arrays import UnsoundFileError
from ..jobs.texture_files import MovedFiles
from . import looks
from .rest_shape import contribution, coordinates, rest_shape

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

BASIS = "Basis"
NAME = "Refined"
"""Names of the shape keys that we add."""

ROUNDING = 1e-5
"""Of positions as float32, in a mesh's extent, and ten times as much as in its distance from the origin."""


@dataclass(frozen=True)
class Movement:
    """How far a job has moved V vertices.

    Attributes:
        before: (V, 3) float64, where they were, in world space.
        offsets: (V, 3) float64, to where they are now.
        faces: (F, 3) int32, triangles.
        rest: (V, 3) float32, where they were before modifiers, in the object's space; None if that is unknown.
    """

    before: np.ndarray
    offsets: np.ndarray
    faces: np.ndarray
    rest: np.ndarray | None = None


def movement(files: MovedFiles, painted: np.ndarray | None, max_move: float) -> Movement:
    """The movement in a job's files, if it keeps what the person has allowed.

    Args:
        files: the job's.
        painted: (F,) bool, the triangles that get a new look; None: all.
        max_move: how far a vertex may move, as a share of the mesh's largest extent.

    Raises:
        UnsoundFileError: a vertex has moved farther, or one that had to stay has moved.
    """
    import numpy as np

    def read(content: bytes) -> np.ndarray:
        return np.frombuffer(content, "<f4").reshape(-1, 3)

    before, after = read(files.before).astype(np.float64), read(files.after).astype(np.float64)
    faces = np.frombuffer(files.faces, "<i4").reshape(-1, 3)
    extent = np.ptp(before[np.unique(faces)], axis=0).max()
    may_move = np.zeros(len(before), bool)
    may_move[faces] = True
    if painted is not None:
        may_move[faces[~painted]] = False
    offsets = after - before
    rounding = ROUNDING * (extent + 0.1 * np.abs(before).max())
    if (np.linalg.norm(offsets, axis=1) > may_move * max_move * extent + rounding).any():
        raise UnsoundFileError("a vertex has moved farther than was allowed")
    offsets[~may_move] = 0.0
    rest = read(files.rest) if files.rest is not None else None
    return Movement(before, offsets, faces, rest)


def can_have(thing: bpy.types.Object) -> bool:
    """Whether a shape key can be added to those that the object's mesh has."""
    return thing.data.shape_keys is None or thing.data.shape_keys.use_relative


def put_on(thing: bpy.types.Object, moved: Movement, matrix: Matrix) -> str:
    """Give an object's mesh a shape key with the movement, turned up; returns the key's name.

    Earlier refined shapes that the job's mesh did not have are turned down. Modifiers are reckoned with to first order
    (`behind_modifiers` corrects that).

    Args:
        thing: a mesh object in Object Mode with V vertices, the only user of its mesh; it `can_have` the key.
        moved: the movement.
        matrix: the object's world matrix when the job was started.
    """
    import numpy as np

    mesh = thing.data
    if mesh.shape_keys is None:
        thing.shape_key_add(name=BASIS, from_mix=False)
    linear, place = taken_apart(matrix)
    own = np.linalg.pinv(linear)
    _turn_down_others(thing, moved.rest if moved.rest is not None else (moved.before - place) @ own)
    now = rest_shape(thing)
    rest = moved.rest if moved.rest is not None else now
    unposed = rest.astype(np.float64) @ linear + place  # in world space armatures turn without shearing
    offsets = carried(moved.offsets, moved.before, unposed, moved.faces) @ own
    offsets = _reshaped(offsets, rest.astype(np.float64), now.astype(np.float64), moved.faces)
    key = thing.shape_key_add(name=NAME, from_mix=False)
    key.data.foreach_set("co", (coordinates(mesh.shape_keys.reference_key.data) + offsets).astype(np.float32).ravel())
    key.relative_key = mesh.shape_keys.reference_key
    key.value = 1.0
    if not thing.show_only_shape_key or len(mesh.shape_keys.key_blocks) == 2:
        thing.active_shape_key_index = len(mesh.shape_keys.key_blocks) - 1
    mesh.update()
    return key.name


def remembered(thing: bpy.types.Object) -> Callable[[], None]:
    """What gives an object its mesh, and that its shape keys of now, back, with their values; others are removed."""
    mesh, active = thing.data, thing.active_shape_key_index
    keys = mesh.shape_keys.key_blocks if mesh.shape_keys is not None else ()
    values = {key.name: key.value for key in keys}

    def give_back() -> None:
        if thing.data != mesh:
            other, thing.data = thing.data, mesh
            bpy.data.meshes.remove(other)
        added = mesh.shape_keys.key_blocks if mesh.shape_keys is not None else ()
        for key in [key for key in reversed(added) if key.name not in values]:
            thing.shape_key_remove(key)
        for name, value in values.items():
            mesh.shape_keys.key_blocks[name].value = value
        thing.active_shape_key_index = active

    return give_back


def take_off(thing: bpy.types.Object, name: str) -> None:
    """Remove the shape key of this name, if an object's own mesh has it, and the last one that is left then."""
    keys = thing.data.shape_keys
    key = keys.key_blocks.get(name) if keys is not None and name else None
    if key is None or looks.is_shared(thing.data):
        return
    thing.shape_key_remove(key)
    if len(keys.key_blocks) == 1:
        thing.shape_key_clear()


def carried(offsets: np.ndarray, start: np.ndarray, end: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Small offsets of a mesh's vertices in one shape, as they are in another shape of the same mesh.

    Each triangle takes its neighbourhood from the one shape to the other by a linear map (the deformation gradient of
    Sumner and Popović 2004, "Deformation transfer for triangle meshes"); a vertex's offset is taken by the mean of its
    triangles' maps, by area.

    Args:
        offsets: (V, 3) float64.
        start: (V, 3), the shape that they belong to.
        end: (V, 3), the other shape.
        faces: (F, 3) int32.
    """
    import numpy as np

    size = np.ptp(start, axis=0).max() + np.ptp(end, axis=0).max()
    if np.abs(start - end).max() <= ROUNDING * (size + np.abs(start).max()):
        return offsets
    frames, areas = _frames(start[faces])
    there, _ = _frames(end[faces])
    sound = areas > 1e-12 * areas.max()
    faces, frames, there, areas = faces[sound], frames[sound], there[sound], areas[sound]
    maps = there @ np.linalg.inv(frames)
    taken, weight = np.zeros_like(offsets), np.zeros(len(offsets))
    for corner in range(3):
        at = faces[:, corner]
        moved = areas[:, None] * np.einsum("fij,fj->fi", maps, offsets[at])
        weight += np.bincount(at, areas, len(offsets))
        for axis in range(3):
            taken[:, axis] += np.bincount(at, moved[:, axis], len(offsets))
    return np.divide(taken, weight[:, None], out=np.zeros_like(taken), where=weight[:, None] > 0.0)


def taken_apart(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) and (3,) float64: what rows of positions are multiplied by, and what is added then."""
    import numpy as np

    whole = np.array(matrix, np.float64)
    return whole[:3, :3].T, whole[:3, 3]


def _reshaped(offsets: np.ndarray, start: np.ndarray, now: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Offsets of a mesh in one shape as they are in another, if that is the same one scaled, turned or sheared, as by
    Object ▸ Apply; the offsets as they are if vertices have been moved singly."""
    import numpy as np

    start, now = start - start.mean(axis=0), now - now.mean(axis=0)
    near = ROUNDING * (np.abs(start).max() + np.abs(now).max())
    if np.abs(start - now).max() <= near:
        return offsets
    linear, _, rank, _ = np.linalg.lstsq(start, now, rcond=1e-6)
    if np.abs(start @ linear - now).max() > 10.0 * near:
        return offsets
    return offsets @ linear if rank == 3 else carried(offsets, start, now, faces)


def _frames(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of triangles (F, 3, 3): two edges and the normal, as long as they are, as columns (F, 3, 3); twice the areas."""
    import numpy as np

    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normals = np.cross(first, second)
    areas = np.linalg.norm(normals, axis=1)
    normals /= np.sqrt(np.maximum(areas, np.finfo(np.float64).tiny))[:, None]
    return np.stack([first, second, normals], axis=-1), areas


def _turn_down_others(thing: bpy.types.Object, rest: np.ndarray) -> None:
    """Turn our keys down that the job's mesh, whose vertices were at `rest` before modifiers, did not have."""
    import numpy as np

    for look in reversed(looks.of(thing)):
        key = thing.data.shape_keys.key_blocks.get(look.shape) if look.shape else None
        now = rest_shape(thing)
        if key is None or key.mute or key.value == 0.0 or now is None:
            continue
        away = now - rest
        if np.linalg.norm(away - contribution(thing, key)) < np.linalg.norm(away):
            key.value = 0.0
