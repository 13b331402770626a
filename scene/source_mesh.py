"""The mesh of an object of the scene, as a texture job needs it: triangles in world space, UVs, normals, and its look.

The mesh is taken as the viewport shows it: with modifiers, shape keys, armature and parents; in Edit Mode with what has
been edited so far. Its UV map is the one that is active in the list of the Data tab, which the UV Editor shows, too.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from ..jobs.texture_files import CORNERS, TOPOLOGY
from ..sdi_engine.contract.job_folder import storage_errors
from ..sdi_engine.contract.request import JobRequest
from ..sdi_engine.contract.source_mesh import DTYPES
from ..sdi_engine.errors import BadInputError
from ..sdi_engine.surface.own_map import udim_tiles, why_unfit
from ..sdi_engine.system.files import write_atomically
from .base_colour import base_colour, uses_tiles
from .destination import editor_of
from .rest_shape import rest_shape

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

NEW_UV_MAP = "SDI"
"""The name of UV maps that were made for a texture."""

MOST_UV_MAPS = 8
"""That a mesh can have in Blender."""

_INSIDE = 0.5
"""Vertices that have more than this weight are in a vertex group: modifiers interpolate weights at its border."""

_CONVERTIBLE = {
    "CURVE": "a curve",
    "FONT": "a text",
    "META": "a metaball",
    "SURFACE": "a surface",
}
"""Types of objects that Blender makes a mesh of by Object ▸ Convert."""


@dataclass(frozen=True)
class Source:
    """F triangles with V vertices: the arrays of `source.npz`, and what Blender needs to use the result.

    Attributes:
        vertices: (V, 3) float32, world space, in the scene's units.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        normals: (F, 3, 3) float32 per corner, unit vectors, as shaded.
        corners: (F, 3) int32, which loop of the evaluated mesh a triangle's corner is.
        topology: (4,) int64, `topology_of` the evaluated mesh.
        rest: (V, 3) float32, the vertices before modifiers, in the object's space; None if these make other vertices.
        uv: (F, 3, 2) float32 per corner; None without a UV map.
        uv_name: the UV map's name; empty without one.
        painted: (F,) bool, the triangles that get a new look; None: all.
        look: (n, n, 3) uint8, sRGB, the base colour on the UV map, row 0 at v = 1; None if unknown.
        look_corners: (F, 3, 3) uint8, sRGB, the base colour per corner, where there can be no picture; None if unknown.
        notices: sentences for the person, such as why the look of before is unknown.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    corners: np.ndarray
    topology: np.ndarray
    rest: np.ndarray | None = None
    uv: np.ndarray | None = None
    uv_name: str = ""
    painted: np.ndarray | None = None
    look: np.ndarray | None = None
    look_corners: np.ndarray | None = None
    notices: tuple[str, ...] = field(default=())

    def to_bytes(self) -> bytes:
        """The content of a job's `source.npz`; the same for the same arrays."""
        import numpy as np

        arrays = {name: getattr(self, name) for name in (*DTYPES, CORNERS, TOPOLOGY)}
        content = io.BytesIO()
        np.savez(content, **{name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None})
        return content.getvalue()

    def write(self, path: Path) -> None:
        """Write a job's `source.npz`; raises StorageError."""
        with storage_errors(path.parent):
            write_atomically(path, self.to_bytes())


def check(thing: bpy.types.Object) -> str:
    """Why an object cannot be textured, as one sentence with the cure; empty if nothing is known against it.

    Only what is known without evaluating the object, so that an operator's poll may ask.
    """
    name = f'"{thing.name}"'
    if thing.type in _CONVERTIBLE:
        return f"{name} is {_CONVERTIBLE[thing.type]}, not a mesh: convert a copy with Object ▸ Convert ▸ Mesh."
    if thing.type == "EMPTY" and thing.instance_collection is not None:
        return f"{name} is an instance of a collection: choose an object in it, or use Make Instances Real first."
    if thing.type != "MESH":
        return f"{name} is not a mesh: choose a mesh object."
    for each in (thing, thing.data):
        if each.library is not None:
            return (
                f'{name} is linked from "{each.library.name}": make it local first (Object ▸ Relations ▸ Make Local).'
            )
    if thing.override_library is not None:  # to which Blender lets nobody add looks
        return f"{name} is a library override: make it local first (Object ▸ Relations ▸ Make Local)."
    if not thing.data.polygons and not thing.modifiers and thing.mode != "EDIT":
        return f"{name} has no faces: choose a mesh with faces."
    return ""


def capture(
    context: bpy.types.Context,
    thing: bpy.types.Object,
    *,
    only_selected: bool = False,
    vertex_group: str = "",
    look_size: int = 0,
) -> Source:
    """The mesh of an object as the context's view layer shows it. The scene stays as it is.

    Args:
        context: its scene and view layer are used.
        thing: a mesh object in the view layer.
        only_selected: only the faces selected in Edit Mode get a new look.
        vertex_group: only the faces with all their vertices in this group, at a weight above 0.5; empty: all.
        look_size: edge of the picture of the base colour of before, in pixels; 0: it is not wanted.

    Raises:
        BadInputError: it cannot be textured (`check`), is hidden, has nothing to texture, or is just being sculpted
            with dynamic topology or Multiresolution.
    """
    complaint = check(thing)
    if complaint:
        raise BadInputError(complaint)
    _refuse_unfinished_sculpture(thing)
    with evaluated_mesh(context, thing) as (evaluated, mesh):
        source = _source(evaluated, mesh, thing, only_selected, vertex_group)
        _refuse_without_room(source, thing)
        left_out = _left_out(context, thing)
        if not look_size:
            return replace(source, notices=left_out)
        look = base_colour(context, mesh, evaluated.matrix_world.copy(), source.uv_name, look_size)
    return replace(
        source,
        look=look.picture,
        look_corners=look.corners[source.corners] if look.corners is not None else None,
        notices=(*left_out, look.notice) if look.notice else left_out,
    )


def capture_for(
    request: JobRequest, context: bpy.types.Context, thing: bpy.types.Object, only_selected: bool, vertex_group: str
) -> Source:
    """`capture`, with the look of before where the request starts from that, or only some faces get a new one."""
    is_wanted = request.strength < 1.0 or only_selected or bool(vertex_group)
    return capture(
        context,
        thing,
        only_selected=only_selected,
        vertex_group=vertex_group,
        look_size=request.texture_size if is_wanted else 0,
    )


def topology_of(mesh: bpy.types.Mesh) -> np.ndarray:
    """(4,) int64: the numbers of vertices, polygons and loops, and a checksum of which loop is at which vertex.

    If it is that of a `Source`, the source's `corners` are loops of this mesh.
    """
    import numpy as np

    polygons = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_start", polygons)
    loops = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", loops)
    checksum = zlib.crc32(loops.tobytes(), zlib.crc32(polygons.tobytes()))
    return np.array([len(mesh.vertices), len(polygons), len(loops), checksum], np.int64)


def _refuse_unfinished_sculpture(thing: bpy.types.Object) -> None:
    """Raises BadInputError if strokes in Sculpt Mode are not in the mesh yet."""
    editor = editor_of(thing)
    if editor is None or editor.mode != "SCULPT":
        return
    with_what = ["Dyntopo"] if editor.use_dynamic_topology_sculpting else []
    with_what += ["Multiresolution" for each in editor.modifiers if each.type == "MULTIRES"]
    if with_what:
        raise BadInputError(
            f'"{editor.name}" is sculpted with {with_what[0]}, whose shape is in the mesh only after Sculpt Mode: '
            "leave that first."
        )


@contextmanager
def evaluated_mesh(
    context: bpy.types.Context, thing: bpy.types.Object
) -> Iterator[tuple[bpy.types.Object, bpy.types.Mesh]]:
    """The evaluated object and a copy of its mesh, with the materials that its faces show, which exist during the
    block."""
    if thing.data.is_editmode:  # by this object, or by another that has the same mesh
        thing.update_from_editmode()
    elif editor_of(thing) is not None:
        thing.data.update_tag()  # strokes in Sculpt Mode alone do not make Blender evaluate it again
    depsgraph = context.evaluated_depsgraph_get()
    evaluated = thing.evaluated_get(depsgraph)
    if not evaluated.is_evaluated:
        raise BadInputError(f'"{thing.name}" is hidden, or not in the scene: show it first.')
    mesh = bpy.data.meshes.new_from_object(evaluated, preserve_all_data_layers=True, depsgraph=depsgraph)
    for index, slot in enumerate(thing.material_slots):
        if slot.link == "OBJECT" and index < len(mesh.materials):
            mesh.materials[index] = slot.material
    mesh.use_auto_texspace = False  # or Generated coordinates in materials would be of the larger or smaller mesh
    mesh.texspace_location, mesh.texspace_size = thing.data.texspace_location, thing.data.texspace_size
    try:
        yield evaluated, mesh
    finally:
        bpy.data.meshes.remove(mesh)


def _source(
    evaluated: bpy.types.Object, mesh: bpy.types.Mesh, thing: bpy.types.Object, only_selected: bool, vertex_group: str
) -> Source:
    import numpy as np

    mesh.calc_loop_triangles()
    corners = _numbers(mesh.loop_triangles, "loops", 3, np.int32)
    if not len(corners):
        raise BadInputError(_why_no_faces(thing))
    world = np.array(evaluated.matrix_world, np.float64)
    if np.linalg.det(world[:3, :3]) < 0.0:
        corners = corners[:, ::-1]
    uv_map = mesh.uv_layers.active
    uv = _numbers(uv_map.uv, "vector", 2, np.float32)[corners] if uv_map is not None else None
    vertices = (_numbers(mesh.vertices, "co", 3, np.float32) @ world[:3, :3].T + world[:3, 3]).astype(np.float32)
    if not np.isfinite(vertices).all():
        raise BadInputError(
            f'"{thing.name}" has vertices that are NaN or infinite: mend its modifiers, or delete them.'
        )
    at = _numbers(mesh.loops, "vertex_index", 1, np.int32)[:, 0]
    if (vertices[at] == vertices[at[0]]).all():
        raise BadInputError(f'"{thing.name}" has no extent: is its scale 0?')
    if uses_tiles(mesh) or (uv is not None and udim_tiles(uv, vertices[at[corners]]) > 1):
        raise BadInputError(f'"{thing.name}" has UDIM tiles: give it a UV map within one tile, and one image.')
    polygons = _numbers(mesh.loop_triangles, "polygon_index", 1, np.int32)[:, 0]
    chosen = _chosen_polygons(evaluated, mesh, thing, only_selected, vertex_group)
    topology = topology_of(mesh)
    return Source(
        vertices=vertices,
        faces=at[corners],
        normals=_normals(mesh, world[:3, :3])[corners],
        corners=corners,
        topology=topology,
        rest=rest_shape(thing) if np.array_equal(topology_of(thing.data), topology) else None,
        uv=uv,
        uv_name=uv_map.name if uv_map is not None else "",
        painted=chosen[polygons] if chosen is not None else None,
    )


def _left_out(context: bpy.types.Context, thing: bpy.types.Object) -> tuple[str, ...]:
    """A notice where an object's modifiers make instances besides its mesh."""
    if not any(each.type == "NODES" and each.show_viewport for each in thing.modifiers):
        return ()
    made = (each.parent for each in context.evaluated_depsgraph_get().object_instances if each.is_instance)
    if not any(parent is not None and parent.original == thing for parent in made):
        return ()
    return (
        f"The instances that the modifiers of “{thing.name}” make are left out: they need a Realize Instances node.",
    )


def _refuse_without_room(source: Source, thing: bpy.types.Object) -> None:
    """Refuse an object that would be given a further UV map, and can have none."""
    if len(thing.data.uv_layers) < MOST_UV_MAPS or source.uv is None:
        return
    if any(layer.name.startswith(NEW_UV_MAP) for layer in thing.data.uv_layers):  # may be the one that it would get
        return
    reason = why_unfit(source.uv, source.vertices[source.faces])
    if reason:
        raise BadInputError(
            f'{reason}, and "{thing.name}" has as many UV maps as Blender allows: remove one, to make room.'
        )


def _numbers(items: bpy.types.bpy_prop_collection, name: str, width: int, kind: type) -> np.ndarray:
    """A property of all items, (N, width)."""
    import numpy as np

    values = np.empty(width * len(items), kind)
    items.foreach_get(name, values)
    return values.reshape(-1, width)


def _normals(mesh: bpy.types.Mesh, linear: np.ndarray) -> np.ndarray:
    """The corners' normals (L, 3) float32 in world space; `linear` (3, 3) takes positions there."""
    import numpy as np

    cofactors = np.stack([np.cross(linear[(row + 1) % 3], linear[(row + 2) % 3]) for row in range(3)])
    sign = -1.0 if np.linalg.det(linear) < 0.0 else 1.0
    normals = _numbers(mesh.corner_normals, "vector", 3, np.float32) @ (sign * cofactors.T)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0.0).astype(np.float32)


def _chosen_polygons(
    evaluated: bpy.types.Object, mesh: bpy.types.Mesh, thing: bpy.types.Object, only_selected: bool, vertex_group: str
) -> np.ndarray | None:
    """Which polygons get a new look, (P,) bool; None: all."""
    import numpy as np

    if not only_selected and not vertex_group:
        return None
    if only_selected:
        chosen = _numbers(mesh.polygons, "select", 1, bool)[:, 0]
        if not chosen.any() and any(polygon.select for polygon in thing.data.polygons):
            raise BadInputError(
                f'The modifiers of "{thing.name}" do not keep its selected faces apart: apply them, or use all faces.'
            )
        if not chosen.any():
            raise BadInputError(f'No face of "{thing.name}" is selected: select some in Edit Mode, or use all faces.')
        return chosen
    if vertex_group not in thing.vertex_groups:
        raise BadInputError(f'"{thing.name}" has no vertex group "{vertex_group}": choose one of its own.')
    group = evaluated.vertex_groups.get(vertex_group)  # modifiers that join meshes count groups anew
    if group is None:
        raise BadInputError(
            f'The modifiers of "{thing.name}" do not keep its vertex group "{vertex_group}": apply them, or use all '
            "faces."
        )
    inside = np.array([_is_in(vertex, group.index) for vertex in mesh.vertices], bool)
    at = inside[_numbers(mesh.loops, "vertex_index", 1, np.int32)[:, 0]]
    chosen = np.logical_and.reduceat(at, _numbers(mesh.polygons, "loop_start", 1, np.int32)[:, 0])
    if not chosen.any():
        raise BadInputError(
            f'No face of "{thing.name}" is in the vertex group "{vertex_group}": assign all its vertices.'
        )
    return chosen


def _is_in(vertex: bpy.types.MeshVertex, group: int) -> bool:
    return any(each.group == group and each.weight > _INSIDE for each in vertex.groups)


def _why_no_faces(thing: bpy.types.Object) -> str:
    if thing.data.polygons:
        return f'The modifiers of "{thing.name}" leave no faces: a mesh of instances needs a Realize Instances node.'
    return f'"{thing.name}" has no faces: choose a mesh with faces.'
