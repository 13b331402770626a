"""Puts a texture onto the object that it was made for: a further look, while its materials of before stay in the file.
With a refined shape, that comes too, as a shape key (`refined_shape`).

On a mesh as it was when the job was started, everything fits. A mesh that was edited since still has its UV map, so
that a texture on that map still comes; where the faces must be the same ones, as for a shape, it does not, and nothing
is changed.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import bpy
from mathutils import Matrix

from ..jobs import texture_files
from ..jobs.arrays import UnsoundFileError
from ..jobs.placement import Placement
from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.errors import EngineError
from ..sdi_engine.system.files import is_there
from . import behind_modifiers, destination, looks, markers, refined_shape, texture_material, textures, uv_maps
from .evaluated_copy import copy_as_evaluated
from .importer import ImportFailedError
from .seen_material import is_seen
from .source_mesh import MOST_UV_MAPS, NEW_UV_MAP, check, evaluated_mesh, topology_of

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

_POLYGON = "sdi_polygon"
"""An attribute for a moment: which polygon of the mesh one of the evaluated mesh comes from."""

_OTHER_MAP = (
    "The texture of “{0}” is on the UV map “{1}”, while other faces, or other objects that use the mesh, are on “{2}”, "
    "which stays the active one: make “{1}” the active one (Object Data ▸ UV Maps) before you export to OBJ, which has "
    "one UV map only."
)


@dataclass
class Applied:
    """Attributes:
    thing: the object that has the texture now: the one that was meant, or a copy of it.
    task: of the job.
    notices: what the person should know, as sentences.
    """

    thing: bpy.types.Object
    task: str
    notices: list[str] = field(default_factory=list)


def apply(context: bpy.types.Context, thing: bpy.types.Object, folder: JobFolder) -> Applied:
    """Give an object the texture of a finished job as a further look (`looks`); the caller makes the undo step.

    If the object has the job's look already, that is shown.

    Args:
        context: its view layer gives the evaluated mesh, where that is needed.
        thing: a mesh object of this file in Object Mode.
        folder: of the job.

    Raises:
        ImportFailedError: the texture cannot be put onto the object, which is as before then; one sentence.
    """
    _refuse(thing)
    try:
        request = folder.request()
    except EngineError as error:
        raise ImportFailedError(str(error)) from error
    index = looks.index_of(thing, folder.path)
    if index >= 0:
        has_own_now = looks.show(thing, index)
        return Applied(thing, request.task, [looks.OWN_MESH.format(thing.name)] if has_own_now else [])
    if not is_there(folder.texture_file):
        raise ImportFailedError(f'The job in "{folder.path}" has no texture.png: run it again.')
    try:
        files = _read(folder)
        moved = None
        if request.task == "refine":
            moved = refined_shape.movement(texture_files.read_moved(folder), files.painted, request.max_move)
        fitting = _fit(context, thing, files, _uv_map_of(folder), moved is not None)
        image = texture_material.load(folder, request.prompt)
    except (UnsoundFileError, OSError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ImportFailedError(
            f'The result in "{folder.path}" cannot be read ({cause}): run the job again.'
        ) from error
    except EngineError as error:
        raise ImportFailedError(str(error)) from error
    applied = Applied(thing, request.task, fitting.notices)
    if fitting.needs_copy:
        why = "needs a new UV map, and its modifiers change its faces" if moved is None else _why_no_shape_key(thing)
        _go_to_copy(context, applied, why)
        moved = dataclasses.replace(moved, rest=None) if moved is not None else None
    shape = ""
    if moved is not None:
        shape = _give_shape(context, applied, moved, _matrix_of(folder, thing))
    elif fitting.faces is not None and _has_own_mesh_now(applied.thing):
        applied.notices.append(looks.OWN_MESH.format(applied.thing.name))
    thing = applied.thing
    uv_map = fitting.uv_map if fitting.new_uv is None else _uv_map_with(thing.data, fitting.new_uv)
    material = texture_material.make(image, uv_map, folder, request)
    colour = textures.colour_on(thing.data, image, uv_map)
    if colour is not None:
        material.diffuse_color = colour  # which Solid shading shows
    looks.add(thing, folder.path, request, material, uv_map, fitting.faces, shape)
    active = uv_maps.active(thing.data)
    if uv_map in thing.data.uv_layers and active != uv_map:
        applied.notices.append(_OTHER_MAP.format(thing.name, uv_map, active))
    painted = slice(None) if files.painted is None else files.painted
    if not is_seen(context, thing, material, files.topology, files.corners[painted, 0]):
        applied.notices.append(
            f"The modifiers of “{thing.name}” give faces materials of their own, which hide the texture there: apply "
            "them, and texture it again."
        )
    return applied


def _give_shape(context: bpy.types.Context, applied: Applied, moved: refined_shape.Movement, matrix: Matrix) -> str:
    """Give the object its refined shape, or, where its modifiers keep vertices from there, a copy; returns the name of
    the shape key."""
    thing = applied.thing
    take_back = refined_shape.remembered(thing)
    was_shared = _has_own_mesh_now(thing)
    shape = refined_shape.put_on(thing, moved, matrix)
    off_by = behind_modifiers.settle(context, thing, shape, moved, matrix)
    if off_by > behind_modifiers.OFF_BY:
        thing.data.shape_keys.key_blocks[shape].value = 0.0
        _go_to_copy(context, applied, "has modifiers that keep it from the refined shape")
        take_back()
        return refined_shape.put_on(applied.thing, dataclasses.replace(moved, rest=None), matrix)
    if was_shared:
        applied.notices.append(looks.OWN_MESH.format(thing.name))
    if math.isnan(off_by):
        applied.notices.append(
            f"“{thing.name}” is in another scene, or has other modifiers by now: what they make of the refined shape "
            "could not be checked."
        )
    elif thing.show_only_shape_key and thing.active_shape_key.name != shape:
        applied.notices.append(f"“{thing.name}” shows one of its shape keys only: unpin it to see “{shape}”, too.")
    return shape


def _has_own_mesh_now(thing: bpy.types.Object) -> bool:
    """Give the object a mesh of its own if other objects use the same one; returns whether that was so."""
    if not looks.is_shared(thing.data):
        return False
    thing.data = thing.data.copy()
    return True


def _go_to_copy(context: bpy.types.Context, applied: Applied, why: str) -> None:
    """Go on with a copy of the object that has its modifiers applied."""
    thing = applied.thing
    ending = "refined" if applied.task == "refine" else "textured"
    applied.thing = copy_as_evaluated(context, thing, ending)
    applied.notices.append(
        f"“{thing.name}” {why}: the result is on “{applied.thing.name}”, with the modifiers applied; the object itself "
        "is hidden."
    )


def _refuse(thing: bpy.types.Object) -> None:
    refusal = check(thing)
    if refusal:
        raise ImportFailedError(refusal)
    editor = destination.editor_of(thing)
    if editor is not None:
        raise ImportFailedError(f'"{editor.name}" is not in Object Mode: switch to it first.')


def _uv_map_of(folder: JobFolder) -> str:
    """The name of the UV map that the job's mesh had; empty if it is unknown."""
    where = Placement.read(folder)
    return where.target.uv_map if where is not None and where.target is not None else ""


def _matrix_of(folder: JobFolder, thing: bpy.types.Object) -> Matrix:
    """The world matrix of the job's object when the job was started; that of `thing` now if it is unknown."""
    where = Placement.read(folder)
    return markers.matrix_from(where) if where is not None and where.target is not None else thing.matrix_world


@dataclass(frozen=True)
class _Files:
    """`TextureFiles` as numpy's arrays: (F, 3) and (4,) integers, (F, 3, 2) float32, (F,) bool."""

    corners: np.ndarray
    topology: np.ndarray
    uv: np.ndarray | None
    new_uv: np.ndarray | None
    painted: np.ndarray | None


def _read(folder: JobFolder) -> _Files:
    import numpy as np

    read = texture_files.read(folder)
    return _Files(
        np.frombuffer(read.corners, "<i4").reshape(-1, 3),
        np.frombuffer(read.topology, "<i8"),
        np.frombuffer(read.uv, "<f4").reshape(-1, 3, 2) if read.uv is not None else None,
        np.frombuffer(read.new_uv, "<f4").reshape(-1, 3, 2) if read.new_uv is not None else None,
        np.frombuffer(read.painted, "u1").astype(bool) if read.painted is not None else None,
    )


@dataclass
class _Fitting:
    """How a texture fits a mesh.

    Attributes:
        uv_map: the name of the mesh's UV map that it is on; of no meaning with `new_uv`.
        new_uv: (L, 2) float32, the new UV map of the mesh, or of the copy; None if it is on one that there is.
        faces: (P,) bool, the polygons that get it; None: all.
        needs_copy: whether it only fits the mesh with its modifiers applied.
        notices: sentences for the person.
    """

    uv_map: str = ""
    new_uv: np.ndarray | None = None
    faces: np.ndarray | None = None
    needs_copy: bool = False
    notices: list[str] = field(default_factory=list)


def _fit(context: bpy.types.Context, thing: bpy.types.Object, files: _Files, uv_map: str, has_shape: bool) -> _Fitting:
    """Raises ImportFailedError where it does not fit; EngineError where the mesh cannot be evaluated."""
    import numpy as np

    mesh = thing.data
    is_same = np.array_equal(topology_of(mesh), files.topology)
    if is_same and (not has_shape or refined_shape.can_have(thing)):
        fitting = _fit_to(mesh, files, thing.name)
    elif files.new_uv is not None or has_shape:
        with evaluated_mesh(context, thing) as (_, evaluated):
            _refuse_edited(evaluated, files, thing)
            fitting = _fit_to(evaluated, files, thing.name)
        fitting.needs_copy = True
    elif files.painted is not None:
        fitting = _Fitting(faces=_faces_before_modifiers(context, thing, files))
    else:
        fitting = _Fitting()
        if not thing.modifiers:
            fitting.notices.append(
                f"“{thing.name}” has been edited since: where its UV map is another one now, the texture does not fit."
            )
    if files.new_uv is None:
        fitting.uv_map = _present_uv_map(thing, uv_map)
        if _has_moved(mesh, fitting.uv_map, files):
            fitting.notices.append(
                f"The UV map of “{thing.name}” has been changed since: where it has, the texture does not fit."
            )
    return fitting


def _fit_to(mesh: bpy.types.Mesh, files: _Files, name: str) -> _Fitting:
    """The fitting for a mesh of the source's topology."""
    import numpy as np

    if files.corners.max() >= len(mesh.loops):
        raise ImportFailedError(f'The job\'s source.npz is not of "{name}": texture the object again.')
    fitting = _Fitting()
    if files.new_uv is not None:
        fitting.new_uv = np.zeros((len(mesh.loops), 2), np.float32)
        fitting.new_uv[files.corners] = files.new_uv
        if len(mesh.uv_layers) >= MOST_UV_MAPS and _uv_map_like(mesh, fitting.new_uv) is None:
            raise ImportFailedError(f'"{name}" has as many UV maps as Blender allows, and needs one more: remove one.')
    if files.painted is not None:
        fitting.faces = np.zeros(len(mesh.polygons), bool)
        fitting.faces[_polygons_of(mesh, files)[files.painted]] = True
    return fitting


def _polygons_of(mesh: bpy.types.Mesh, files: _Files) -> np.ndarray:
    """(F,): the polygon of each triangle."""
    import numpy as np

    starts = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_start", starts)
    return np.searchsorted(starts, files.corners[:, 0], side="right") - 1


def _refuse_edited(evaluated: bpy.types.Mesh, files: _Files, thing: bpy.types.Object) -> None:
    import numpy as np

    if not np.array_equal(topology_of(evaluated), files.topology) or files.corners.max() >= len(evaluated.loops):
        raise ImportFailedError(
            f'"{thing.name}" or its modifiers have been edited since, and the result no longer fits its faces: undo '
            "that and use Put on Object in the list of jobs, or make it again."
        )


def _faces_before_modifiers(context: bpy.types.Context, thing: bpy.types.Object, files: _Files) -> np.ndarray:
    """(P,) bool: the mesh's own polygons from which the painted ones come."""
    import numpy as np

    mesh = thing.data
    name = mesh.attributes.new(_POLYGON, "INT", "FACE").name
    try:
        mesh.attributes[name].data.foreach_set("value", np.arange(len(mesh.polygons), dtype=np.int32))
        thing.update_tag(refresh={"DATA"})
        with evaluated_mesh(context, thing) as (_, evaluated):
            _refuse_edited(evaluated, files, thing)
            noted = evaluated.attributes.get(name)
            if noted is None or noted.domain != "FACE":
                raise ImportFailedError(
                    f'The modifiers of "{thing.name}" do not tell which faces theirs come from: apply them, and '
                    "texture the faces again."
                )
            origins = np.empty(len(evaluated.polygons), np.int32)
            noted.data.foreach_get("value", origins)
            painted = origins[_polygons_of(evaluated, files)[files.painted]]
    finally:
        mesh.attributes.remove(mesh.attributes[name])
        thing.update_tag(refresh={"DATA"})
    faces = np.zeros(len(mesh.polygons), bool)
    faces[painted[(painted >= 0) & (painted < len(faces))]] = True
    return faces


def _present_uv_map(thing: bpy.types.Object, uv_map: str) -> str:
    """The name of the UV map, or, where it is unknown or gone, that of the active one."""
    layers = thing.data.uv_layers
    if uv_map and (uv_map in layers or thing.modifiers):  # modifiers may make it
        return uv_map
    if uv_map:
        raise ImportFailedError(
            f'"{thing.name}" has no UV map "{uv_map}" any more, which the texture is on: rename or undo, and use Put '
            "on Object in the list of jobs."
        )
    return layers.active.name if layers.active is not None else ""


def _has_moved(mesh: bpy.types.Mesh, uv_map: str, files: _Files) -> bool:
    """Whether the UV map of a mesh of the source's topology is not the source's."""
    import numpy as np

    layer = mesh.uv_layers.get(uv_map)
    if layer is None or files.uv is None or not np.array_equal(topology_of(mesh), files.topology):
        return False
    return not np.allclose(_uvs(layer)[files.corners], files.uv, atol=1e-5)


def _uvs(layer: bpy.types.MeshUVLoopLayer) -> np.ndarray:
    """(L, 2) float32."""
    import numpy as np

    values = np.empty(2 * len(layer.uv), np.float32)
    layer.uv.foreach_get("vector", values)
    return values.reshape(-1, 2)


def _uv_map_like(mesh: bpy.types.Mesh, uvs: np.ndarray) -> str | None:
    """The name of a UV map with these values, (L, 2); None if there is none."""
    import numpy as np

    return next((layer.name for layer in mesh.uv_layers if np.array_equal(_uvs(layer), uvs)), None)


def _uv_map_with(mesh: bpy.types.Mesh, uvs: np.ndarray) -> str:
    """The name of a UV map with these values; a further one unless there is one. Others stay."""
    import numpy as np

    known = _uv_map_like(mesh, uvs)
    if known is not None:
        return known
    layer = mesh.uv_layers.new(name=NEW_UV_MAP, do_init=False)
    layer.uv.foreach_set("vector", np.ascontiguousarray(uvs).ravel())
    mesh.update()
    return layer.name


def _why_no_shape_key(thing: bpy.types.Object) -> str:
    return "has modifiers that make other vertices" if refined_shape.can_have(thing) else "has absolute shape keys"
