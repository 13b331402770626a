"""Keeps Blender's undo safe from what we make without undo steps: markers and live meshes.

Undo takes over every datablock that is the same in the step that it goes to, such as the collection "SDI", with all
that it refers to by now. If that is an object which the step does not know, Blender crashes. So what shows jobs leaves
its collections before every undo and redo, and comes back after it: as the step has it, so that a move of the marker
can be undone, or made anew where the step was before its time.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
from mathutils import Matrix

from . import destination, live_mesh, markers
from .collection import collection_for_helpers, discard_if_empty, link_again
from .handlers import Handlers


@dataclass(frozen=True)
class _Aside:
    """What showed a job before the undo: enough to make it again.

    Attributes:
        marker: its world matrix; None where the person has deleted it.
        mesh: the live mesh's world matrix and geometry, where there is one; the geometry is None where it is not ours.
        selected, active: the marker, in the view layer that the person sees.
    """

    job_name: str
    scene: str
    prompt: str
    edge: float
    marker: Matrix | None
    mesh: tuple[Matrix, live_mesh.Geometry | None] | None
    selected: bool
    active: bool


_MARK = "sdi_undo"
"""A property of the scene during an undo: a scene that Blender takes over still has it."""


class UndoGuard:
    """Takes what shows jobs out of the way of every undo and redo, and puts it back."""

    def __init__(self) -> None:
        self._aside: list[_Aside] = []
        self._collection_too = False
        of = bpy.app.handlers
        self._handlers = Handlers(
            (of.undo_pre, self._put_aside),
            (of.redo_pre, self._put_aside),
            (of.undo_post, self._put_back),
            (of.redo_post, self._put_back),
        )

    def begin(self) -> None:
        """Called when the extension is enabled."""
        self._handlers.begin()

    def end(self) -> None:
        """Called when the extension is disabled."""
        self._handlers.end()

    def _put_aside(self, *_: object) -> None:
        helpers = markers.helpers()
        self._aside = [_remember(name) for name in sorted({str(each[markers.JOB]) for each in helpers})]
        for each in helpers:
            for collection in each.users_collection:
                collection.objects.unlink(each)
            if each.get(markers.PART) == markers.LIVE:
                each.parent = None  # which may be a younger marker than the step, if the one in the step was deleted
        if helpers:
            bpy.context.scene[_MARK] = True
        self._collection_too = bool(helpers) and discard_if_empty()
        _settle()

    def _put_back(self, *_: object) -> None:
        for aside in self._aside:
            _put_one_back(aside)
        if self._collection_too:  # the step may have it, but in a scene that Blender took over as it was, without it
            link_again(destination.local_scene(bpy.context))
        if bpy.context.scene.pop(_MARK, False):
            _select_again(self._aside)
        self._aside = []


def _put_one_back(aside: _Aside) -> None:
    scene = destination.local_scene(bpy.context, aside.scene)
    known = markers.helpers(aside.job_name)
    for each in known:
        if not each.users_collection:
            collection_for_helpers(scene).objects.link(each)
    if not known and aside.marker is not None:
        markers.make(scene, aside.job_name, aside.prompt, aside.edge, aside.marker)
    if aside.mesh is not None:
        matrix, geometry = aside.mesh
        mesh_object = markers.find(aside.job_name, markers.LIVE)
        if mesh_object is None and geometry is not None:
            mesh_object = live_mesh.make(scene, aside.job_name, aside.prompt)
            live_mesh.fill(mesh_object.data, geometry)
        if mesh_object is not None:
            live_mesh.hang(mesh_object, markers.find(aside.job_name), matrix)


def _settle() -> None:
    """Let every view layer learn now what is in the collections.

    Blender puts that off until somebody asks. In 4.2 the one who asks is the undo itself, with the file half exchanged,
    and Blender crashes.
    """
    for scene in bpy.data.scenes:
        for view_layer in scene.view_layers:
            _ = view_layer.objects.active  # whose getter asks, and evaluates nothing


def _remember(job_name: str) -> _Aside:
    marker = markers.find(job_name)
    mesh_object = markers.find(job_name, markers.LIVE)
    one = marker or mesh_object or markers.helpers(job_name)[0]
    mesh = None
    if mesh_object is not None:
        mesh = markers.last_matrix(mesh_object), live_mesh.geometry_of(mesh_object.data)
    view_layer = bpy.context.view_layer
    seen = marker is not None and view_layer is not None and marker.name in view_layer.objects
    return _Aside(
        job_name,
        scene=one.users_scene[0].name if one.users_scene else "",
        prompt=one.name.rpartition(" (")[0] or one.name,
        edge=markers.edge_of(marker) if marker is not None else 1.0,
        marker=markers.last_matrix(marker) if marker is not None else None,
        mesh=mesh,
        selected=seen and marker.select_get(view_layer=view_layer),
        active=seen and view_layer.objects.active == marker,
    )


def _select_again(all_aside: list[_Aside]) -> None:
    """What left its collections is no longer selected; a scene from the step itself knows what was, this one not."""
    view_layer = bpy.context.view_layer
    view_layer.update()  # or it does not know of the markers yet
    for aside in all_aside:
        marker = markers.find(aside.job_name)
        if marker is None or marker.name not in view_layer.objects:
            continue
        marker.select_set(aside.selected, view_layer=view_layer)
        if aside.active:
            view_layer.objects.active = marker
