"""Shows on an object how its texture grows: a light mesh with the colours of now, laid closely over the object.

The object itself is not touched, so that nothing can be lost. The overlay is a child of the object, in its collection.
It is not saved with files and does not live through undo; the next step of the job brings it again.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mathutils import Matrix

from ..jobs.placement import Placement
from ..sdi_engine.contract.job_folder import JobFolder
from ..sdi_engine.contract.request import JobRequest
from . import destination, live_mesh, markers, target

if TYPE_CHECKING:
    import numpy as np  # imported in the functions: that takes longer than importing all of the extension

_LIFT = 0.002
"""How far the overlay is outside of the object's surface, as a share of the diagonal of its bounding box."""


def show(folder: JobFolder, where: Placement, request: JobRequest) -> bool:
    """Show the job's current state on its object; returns whether it is shown.

    It is not while the scene is in use, and, lest it be in the way, while the object is in another mode than Object
    Mode. A shape that is refined shows in front of the object, which would hide what has moved inwards.
    """
    thing = target.find(where.target) if where.target is not None else None
    job_name = folder.path.name
    if thing is None or thing.mode != "OBJECT" or not thing.users_collection:
        remove(job_name)
        return False
    geometry = live_mesh.read(folder) if not destination.is_in_use() else None
    if geometry is None:
        return False
    overlay = markers.find(job_name, markers.OVERLAY)
    if overlay is None:
        remove(job_name)  # one that an undo has put aside
        overlay = live_mesh.make(
            thing.users_collection[0], job_name, request.prompt, str(folder.path.parent), markers.OVERLAY
        )
        overlay.show_in_front = request.task == "refine"
    overlay.parent = thing
    overlay.matrix_parent_inverse = Matrix.Identity(4)
    overlay.matrix_basis = markers.matrix_from(where).inverted_safe()
    live_mesh.fill(overlay.data, dataclasses.replace(geometry, vertices=_lifted(geometry)))
    return True


def remove(job_name: str) -> None:
    """Remove a job's overlay, if it has one."""
    if markers.helpers(job_name, markers.OVERLAY):
        markers.remove(job_name)


def remove_all() -> None:
    """Remove the overlays of all jobs."""
    for name in {str(each[markers.JOB]) for each in markers.helpers(part=markers.OVERLAY)}:
        markers.remove(name)


def _lifted(geometry: live_mesh.Geometry) -> np.ndarray:
    """The vertices, (V, 3) float32, moved outwards; those at one place stay together."""
    import numpy as np

    vertices, faces = geometry.vertices.astype(np.float64), geometry.faces
    places, place_of = np.unique(vertices, axis=0, return_inverse=True)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = np.zeros_like(places)
    for corner in range(3):
        np.add.at(outwards, place_of.reshape(-1)[faces[:, corner]], normals)
    lengths = np.linalg.norm(outwards, axis=1, keepdims=True)
    outwards = np.divide(outwards, lengths, out=np.zeros_like(outwards), where=lengths > 0.0)
    lift = _LIFT * float(np.linalg.norm(np.ptp(places, axis=0)))
    return (places + lift * outwards)[place_of.reshape(-1)].astype(np.float32)
