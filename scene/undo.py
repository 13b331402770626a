"""Protects Blender's undo from objects that are made without undo steps: markers and live meshes.

Undo keeps every datablock that is the same in the step that it goes to, such as a scene, with all that it refers to
now. If that includes an object that the step does not have, Blender crashes. So markers and live meshes are unlinked
from their collections before every undo and redo, and linked to them again afterwards: as they are in the step, so
that a move of the marker can be undone, or made anew if the step is older than they are. Overlays of textures are not
linked again, and removed after the undo (`markers.remove_stale`): they come back with the next step of their job. What
the person has parented to a marker, or made follow it, is let go and taken up likewise (`references`).

All of them are put into the scene's own collection. One made for them would have to be deleted again without an undo
step, too, and an undo of Blender 4 confuses a collection that a step has with one that took its memory: it reads the
scene's own collection again, and where that comes to lie at the address of the step's, it takes the one for the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import bpy
from mathutils import Matrix

from . import destination, live_mesh, markers, references
from .handlers import Handlers


@dataclass(frozen=True)
class _Aside:
    """A job's marker and live mesh before the undo: enough to make them again.

    Attributes:
        job_name: the name of the job's folder.
        scene: the name of their scene.
        prompt: the job's prompt, from their names.
        results: the job's results folder, as they note it.
        edge: the edge of the marker's box, in the scene's units.
        marker: the marker's world matrix; None if the person has deleted it.
        mesh: the live mesh's world matrix and geometry, or None without one; geometry that was edited is None.
        homes: where the job's helpers are linked to, by their names: kinds and names of collections or scenes.
        deleted: which of the job's helpers, by `markers.PART`, the person has deleted, though something points to them.
        hidden: the names of those that are hidden in the shown view layer.
        outside: the names of those that are not in a local view, each with the address of that viewport's data.
        selected: whether the marker is selected there.
        active: whether the marker is the active object there.
    """

    job_name: str
    scene: str
    prompt: str
    results: str
    edge: float
    marker: Matrix | None
    mesh: tuple[Matrix, live_mesh.Geometry | None] | None
    homes: dict[str, list[tuple[str, str]]]
    deleted: frozenset[str]
    hidden: frozenset[str]
    outside: frozenset[tuple[str, int]]
    selected: bool
    active: bool


_MARK = "sdi_undo"
"""A property of the scene during an undo: afterwards only a scene that Blender kept as it was still has it."""


class UndoGuard:
    """Unlinks markers and live meshes before every undo and redo, and links them again afterwards."""

    def __init__(self) -> None:
        self._aside: list[_Aside] = []
        self._references: list[references.Reference] = []
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
        """Called when the extension is disabled: from now on nobody keeps undo from what still shows jobs, so that this
        needs an undo step that has it."""
        self._handlers.end()
        if markers.helpers():
            markers.leave()
            bpy.ops.ed.undo_push(message="Disable SDI Text to 3D")

    def _put_aside(self, *_: object) -> None:
        helpers = markers.helpers()
        self._aside = [_remember(name) for name in sorted({str(each[markers.JOB]) for each in helpers})]
        for each in helpers:
            for collection in each.users_collection:
                collection.objects.unlink(each)
            if each.get(markers.PART) in (markers.LIVE, markers.OVERLAY):
                each.parent = None  # the marker may be newer than the step, if the step's own marker was deleted
        self._references = references.clear(helpers)
        if helpers:
            bpy.context.scene[_MARK] = True
        _settle()

    def _put_back(self, *_: object) -> None:
        for aside in self._aside:
            _put_one_back(aside)
        references.restore(self._references)
        if bpy.context.scene.pop(_MARK, False):
            _select_again(self._aside)
        self._aside, self._references = [], []


def _put_one_back(aside: _Aside) -> None:
    scene = destination.local_scene(bpy.context, aside.scene)
    known = markers.helpers(aside.job_name)
    if not known and aside.marker is not None:
        markers.make(scene, aside.job_name, aside.prompt, aside.edge, aside.marker, aside.results)
        for each in markers.helpers(aside.job_name):
            _take_home(each, aside, scene)
    for each in known:
        part = str(each.get(markers.PART, ""))
        if not each.users_collection and part != markers.OVERLAY and part not in aside.deleted:
            _take_home(each, aside, scene)
    if aside.mesh is not None:
        matrix, geometry = aside.mesh
        mesh_object = markers.find(aside.job_name, markers.LIVE)
        if mesh_object is None and geometry is not None:
            mesh_object = live_mesh.make(scene.collection, aside.job_name, aside.prompt, aside.results)
            live_mesh.fill(mesh_object.data, geometry)
        if mesh_object is not None:
            live_mesh.hang(mesh_object, markers.find(aside.job_name), matrix)


def _take_home(thing: bpy.types.Object, aside: _Aside, scene: bpy.types.Scene) -> None:
    """Link a helper to where it was before, as far as that is there, or else to the scene's own collection."""
    for collection in thing.users_collection:
        collection.objects.unlink(thing)
    homes = [_collection(*home) for home in aside.homes.get(thing.name, ())]
    for home in [home for home in homes if home is not None] or [scene.collection]:
        home.objects.link(thing)


def _homes_of(thing: bpy.types.Object) -> list[tuple[str, str]]:
    """The kind and name of each collection that an object is linked to; of a scene's own collection, of the scene."""
    scenes = {scene.collection: scene.name for scene in bpy.data.scenes}
    linked_to = thing.users_collection
    return [("scenes", scenes[each]) if each in scenes else ("collections", each.name) for each in linked_to]


def _collection(kind: str, name: str) -> bpy.types.Collection | None:
    found = getattr(bpy.data, kind).get((name, None))
    return found.collection if isinstance(found, bpy.types.Scene) else found


def _settle() -> None:
    """Make every view layer update its list of objects now.

    Blender puts that off until the list is read. In 4.2 the undo itself reads it, with the file half replaced, and
    Blender crashes.
    """
    for scene in bpy.data.scenes:
        for view_layer in scene.view_layers:
            _ = view_layer.objects.active  # the getter updates the list, and evaluates nothing


def _remember(job_name: str) -> _Aside:
    helpers = markers.helpers(job_name)
    marker = markers.find(job_name)
    mesh_object = markers.find(job_name, markers.LIVE)
    one = marker or mesh_object or helpers[0]
    mesh = None
    if mesh_object is not None:
        mesh = markers.last_matrix(mesh_object), live_mesh.geometry_of(mesh_object.data)
    view_layer = bpy.context.view_layer
    there = view_layer.objects if view_layer is not None else ()
    seen = marker is not None and marker.name in there
    return _Aside(
        job_name,
        scene=one.users_scene[0].name if one.users_scene else "",
        prompt=one.name.rpartition(" (")[0] or one.name,
        results=str(one.get(markers.RESULTS, "")),
        edge=markers.edge_of(marker) if marker is not None else 1.0,
        marker=markers.last_matrix(marker) if marker is not None else None,
        mesh=mesh,
        homes={each.name: _homes_of(each) for each in helpers},
        deleted=frozenset(str(each.get(markers.PART, "")) for each in helpers if markers.is_deleted(each)),
        hidden=frozenset(each.name for each in helpers if each.name in there and each.hide_get(view_layer=view_layer)),
        outside=frozenset(
            (each.name, viewport.as_pointer())
            for view_layer, viewport in _local_views()
            for each in helpers
            if each.name in view_layer.objects and not each.visible_get(view_layer=view_layer, viewport=viewport)
        ),
        selected=seen and marker.select_get(view_layer=view_layer),
        active=seen and view_layer.objects.active == marker,
    )


def _local_views() -> Iterator[tuple[bpy.types.ViewLayer, bpy.types.SpaceView3D]]:
    """The viewports that show some objects only, each after the view layer that it shows."""
    for window in bpy.context.window_manager.windows:
        for viewport in (area.spaces.active for area in window.screen.areas if area.type == "VIEW_3D"):
            if viewport.local_view is not None:
                yield window.view_layer, viewport


def _select_again(all_aside: list[_Aside]) -> None:
    """Restore the markers' selection, and what is hidden or outside of a local view, which unlinking has cleared; a
    scene from the step has its own."""
    view_layer = bpy.context.view_layer
    view_layer.update()  # or the markers are not in its list yet
    for aside in all_aside:
        helpers = markers.helpers(aside.job_name)
        for each in helpers:
            if each.name in aside.hidden and each.name in view_layer.objects:
                each.hide_set(True, view_layer=view_layer)
        for where, viewport in _local_views():
            for each in helpers:
                if (each.name, viewport.as_pointer()) in aside.outside and each.name in where.objects:
                    each.local_view_set(viewport, False)
        marker = markers.find(aside.job_name)
        if marker is None or marker.name not in view_layer.objects:
            continue
        marker.select_set(aside.selected, view_layer=view_layer)
        if aside.active:
            view_layer.objects.active = marker
