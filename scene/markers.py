"""A job's marker: two empties that show where its object will stand, and how big it will be.

The person may move, rotate or scale the marker; the result is placed where it is then. It is found by the job's name in
a custom property, never by a Python reference, since undo and opening the saved file replace the object.

Markers are made and removed without undo steps of their own; `undo` protects Blender's undo from that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import bpy
from mathutils import Matrix, Vector

from ..jobs.placement import Placement
from .names import object_name
from .units import metres_in

JOB = "sdi_job"
PART = "sdi_part"
RESULTS = "sdi_results"
"""The results folder of the job, so that it is known whether the job is gone or only in another one."""
EDGE = "sdi_edge"
"""The edge of a marker's box, in the scene's units, before the marker's own scale."""
MARKER, BOX, LIVE, OVERLAY = "marker", "box", "live", "overlay"
"""Values of `PART`: which of a job's helpers an object is; `live_mesh` and `texture_preview` make the last two."""

_AXES_OF_HEIGHT = 0.4
_LARGEST_SIZE = 1000.0
"""Of an empty in Blender: less than what a person wants where the scene's unit is a millimetre."""


def add(
    scene: bpy.types.Scene, job_name: str, prompt: str, height: float, location: Sequence[float], results: str = ""
) -> bpy.types.Object:
    """Show where the job's object will stand; an existing marker stays as it is.

    Args:
        scene: gets the marker.
        job_name: the name of the job's folder.
        prompt: for the marker's name.
        height: of the object, in metres.
        location: of the centre of its base, in the scene's units.
        results: the results folder of the job.
    """
    marker = find(job_name)
    if marker is not None:
        return marker
    tidy()
    edge = height / metres_in(scene)
    return make(scene, job_name, prompt, edge, Matrix.Translation(Vector(location)), results)


def make(
    scene: bpy.types.Scene, job_name: str, prompt: str, edge: float, matrix: Matrix, results: str = ""
) -> bpy.types.Object:
    """A new marker at a world matrix, with a box of the given edge in the scene's units."""
    marker = bpy.data.objects.new(object_name(prompt, " (place)"), None)
    marker.empty_display_type = "PLAIN_AXES"
    marker.empty_display_size = edge * _AXES_OF_HEIGHT
    marker.show_name = True
    marker.matrix_world = matrix
    marker[JOB], marker[PART], marker[RESULTS], marker[EDGE] = job_name, MARKER, results, edge
    scene.collection.objects.link(marker)
    add_box(marker, prompt)
    return marker


def add_box(marker: bpy.types.Object, prompt: str) -> None:
    """Give a marker its box, if it has none."""
    job_name, edge = str(marker[JOB]), edge_of(marker)
    if find(job_name, BOX) is not None:
        return
    box = bpy.data.objects.new(object_name(prompt, " (size)"), None)
    box.empty_display_type = "CUBE"
    box.empty_display_size = min(edge / 2.0, _LARGEST_SIZE)  # the distance from the centre to a side
    box.scale *= edge / 2.0 / box.empty_display_size
    box.location.z = edge / 2.0
    box.hide_select = True
    box.parent = marker
    box[JOB], box[PART], box[RESULTS] = job_name, BOX, marker.get(RESULTS, "")
    for collection in marker.users_collection:
        collection.objects.link(box)


def find(job_name: str, part: str = MARKER) -> bpy.types.Object | None:
    """The job's marker, or another of its helpers by `PART`; None where there is none, or the person has deleted it."""
    return next((each for each in helpers(job_name, part) if not is_deleted(each)), None)


def is_deleted(helper: bpy.types.Object) -> bool:
    """Whether the person has deleted a helper, which is in the file only for what points to it, such as a node.

    While `undo` has put helpers aside, all of them look so.
    """
    return not helper.users_collection


def helpers(job_name: str | None = None, part: str | None = None) -> list[bpy.types.Object]:
    """The helper objects of a job, or of all jobs, in the file: marker, box, live mesh; `part`: only those.

    Not those that are linked from another file, nor overrides of such: Blender lets nobody take these out.
    """
    ours = [each for each in bpy.data.objects if JOB in each and each.library is None and each.override_library is None]
    return [
        each
        for each in ours
        if (job_name is None or str(each[JOB]) == job_name) and (part is None or each.get(PART) == part)
    ]


def count() -> int:
    """The number of markers in the file."""
    return sum(not is_deleted(each) for each in helpers(part=MARKER))


def edge_of(marker: bpy.types.Object) -> float:
    """The edge of the marker's box, in the scene's units, before the marker's own scale."""
    noted = marker.get(EDGE)  # not by the version that a file may be of
    return noted if isinstance(noted, float) and noted > 0.0 else marker.empty_display_size / _AXES_OF_HEIGHT


def tidy() -> None:
    """Remove boxes whose marker the person has deleted; the result is then placed where Generate was pressed."""
    for box in helpers(part=BOX):
        if box.parent is None or is_deleted(box.parent):
            bpy.data.objects.remove(box)


def matrix_of(job_name: str) -> Matrix | None:
    """The world matrix of the job's marker, with constraints and animation; None if it has no marker."""
    marker = find(job_name)
    if marker is None:
        return None
    for view_layer in seen_view_layers():
        view_layer.update()  # or the marker may not be in its list yet
        if marker.name in view_layer.objects:
            return marker.evaluated_get(view_layer.depsgraph).matrix_world.copy()
    return last_matrix(marker)  # its collection is excluded, or its scene is not shown


def last_matrix(thing: bpy.types.Object) -> Matrix:
    """An object's world matrix when it was last evaluated, or, if it never was, computed from the file's values."""
    if thing.matrix_world != Matrix():
        return thing.matrix_world.copy()
    if thing.parent is None:  # files have no world matrices: before its first evaluation an object's is the identity
        return thing.matrix_basis.copy()
    return last_matrix(thing.parent) @ thing.matrix_parent_inverse @ thing.matrix_basis


def was_moved(job_name: str, placement: Placement) -> bool:
    """Whether the job's marker differs from the placement in location, rotation or scale."""
    matrix = matrix_of(job_name)
    if matrix is None:
        return False
    pairs = zip((value for row in matrix for value in row), placement.matrix, strict=True)
    return not all(math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-5) for one, other in pairs)


def seen_view_layers() -> list[bpy.types.ViewLayer]:
    """The view layers that are shown in windows, the context's first.

    Evaluating another one after an undo crashes Blender 4.3: it would evaluate data that the undo has freed.
    """
    seen = [bpy.context.view_layer, *(window.view_layer for window in bpy.context.window_manager.windows)]
    return [each for number, each in enumerate(seen) if each is not None and each not in seen[:number]]


def matrix_from(placement: Placement) -> Matrix:
    """The placement's world matrix as a `Matrix`."""
    return Matrix([placement.matrix[row : row + 4] for row in range(0, 16, 4)])


def remove(job_name: str, but: str = "") -> None:
    """Remove the job's marker, box and live mesh, with all data that only they use; `but`: the part that stays."""
    for each in helpers(job_name):
        if but and each.get(PART) == but:
            continue
        for child in each.children:
            if JOB not in child:  # the person's own child stays where it is
                world = child.matrix_world.copy()
                child.parent = None
                child.matrix_world = world
        bpy.data.objects.remove(each)
    for kind in (bpy.data.meshes, bpy.data.materials):  # meshes first, since they use materials
        for data in [data for data in kind if data.get(JOB) == job_name and data.library is None and not data.users]:
            kind.remove(data)


def leave() -> None:
    """Remove all but the markers, which a person can select and delete: from now on nobody looks after them."""
    for job_name in {str(each[JOB]) for each in helpers()}:
        remove(job_name, but=MARKER)


def remove_stale(is_over: Callable[[str], bool]) -> None:
    """Remove the markers and live meshes of jobs that are over, which an undo may have brought back."""
    for name in {str(each[JOB]) for each in helpers()}:
        if is_over(name):
            remove(name)
