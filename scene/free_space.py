"""Finds free places: a new object is moved along X, away from what is there already.

It keeps clear of the bounding boxes of things of about its own size. A much wider thing is something to stand in or on,
such as a room, a floor or a landscape: of that only the surface, and the inside if it is solid, are occupied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import bpy
from mathutils import Vector

from . import markers
from .destination import view_layer_of

GAP = 0.5
"""The gap between two things, in widths of the new one."""

_SURROUNDINGS = 3.0
"""A thing so many times as wide as the new one is something to stand in or on."""

_MARGIN = 0.05
"""How far boxes may overlap, as a share of the new thing's size."""

_REACH = 0.4
"""How far the new thing extends from its centre at least, as a share of its smallest edge."""

_MOST_FACES = 200_000
"""The surface of a thing with more faces is ignored, since finding the nearest point would take too long."""

_MOST_STEPS = 1000
_SOLID = ("MESH", "CURVE", "SURFACE", "META", "FONT")
_OUTLINES = ("WIRE", "BOUNDS")
_AXES = (Vector((1.0, 0.0, 0.0)), Vector((0.0, 1.0, 0.0)), Vector((0.0, 0.0, 1.0)))


@dataclass(frozen=True)
class Box:
    """An axis-aligned box: its lowest and its highest corner in world space, in the scene's units."""

    low: Vector
    high: Vector

    @classmethod
    def around(cls, points: Iterable[Vector]) -> Box:
        """The smallest box that contains some points."""
        axes = list(zip(*points, strict=True))
        return cls(Vector(map(min, axes)), Vector(map(max, axes)))

    @classmethod
    def of_edge(cls, base: Vector, edge: float) -> Box:
        """A cube, from the centre of its base and its edge."""
        half = Vector((edge / 2.0, edge / 2.0, 0.0))
        return cls(base - half, base + half + Vector((0.0, 0.0, edge)))

    @property
    def middle(self) -> Vector:
        """The centre of the box."""
        return (self.low + self.high) / 2.0

    @property
    def size(self) -> Vector:
        """The edges along X, Y and Z."""
        return self.high - self.low

    def moved(self, x: float) -> Box:
        """The box, moved along X."""
        aside = Vector((x, 0.0, 0.0))
        return Box(self.low + aside, self.high + aside)

    def overlaps(self, other: Box, margin: Vector) -> bool:
        """Whether the boxes overlap by more than a margin along every axis."""
        return all(self.low[axis] + margin[axis] < other.high[axis] for axis in range(3)) and all(
            other.low[axis] < self.high[axis] - margin[axis] for axis in range(3)
        )


@dataclass(frozen=True)
class _Obstacle:
    box: Box
    thing: bpy.types.Object | None = None
    """The evaluated object if it is a mesh, whose surface can be tested."""
    is_reserved: bool = False


class Floor:
    """The occupied places in a view layer.

    Args:
        view_layer: one that is shown (`markers.seen_view_layers`).
        without: objects to ignore.
        reserved: places of future objects, besides those at the markers of waiting jobs.
    """

    def __init__(
        self,
        view_layer: bpy.types.ViewLayer,
        without: Collection[bpy.types.Object] = (),
        reserved: Iterable[Box] = (),
    ) -> None:
        view_layer.update()
        self._things = list(_things_in(view_layer, without))
        self._reserved = [_Obstacle(box, is_reserved=True) for box in (*_marked(view_layer), *reserved)]

    def is_free(self, wanted: Box) -> bool:
        """Whether no thing is there; places that are only reserved count as free."""
        return _blocking(wanted, self._things) is None

    def way_aside(self, wanted: Box) -> float:
        """The distance along X to the nearest free place; 0 if there is none, as in the middle of a landscape."""
        obstacles = self._things + self._reserved
        gap = GAP * wanted.size.x
        x = 0.0
        for _ in range(_MOST_STEPS):
            blocking = _blocking(wanted.moved(x), obstacles)
            if blocking is None:
                return x
            if _is_surroundings(blocking, wanted):
                x += wanted.size.x + gap
            else:
                x = blocking.box.high.x + gap - wanted.low.x
        return 0.0

    def row(self, base: Vector, edges: Iterable[float]) -> Iterator[Vector]:
        """Free places for cubes with the given edges (in the scene's units), in a row along X from `base` on."""
        x = 0.0
        for edge in edges:
            here = base + Vector((x, 0.0, 0.0))
            x += self.way_aside(Box.of_edge(here, edge))
            yield base + Vector((x, 0.0, 0.0))
            x += (1.0 + GAP) * edge


def move_aside(view_layer: bpy.types.ViewLayer, placed: bpy.types.Object) -> None:
    """Move an object along X if it intersects another one."""
    if view_layer not in markers.seen_view_layers() or placed.name not in view_layer.objects:
        return
    floor = Floor(view_layer, without=[placed])
    wanted = Box.around(placed.matrix_world @ Vector(corner) for corner in placed.bound_box)
    if not floor.is_free(wanted):
        placed.location.x += floor.way_aside(wanted)


def step_aside(context: bpy.types.Context, placed: bpy.types.Object) -> None:
    """`move_aside` in every scene that a new object is in: it may be wider than its reserved place."""
    for scene in placed.users_scene:
        move_aside(view_layer_of(context, scene), placed)


def _things_in(view_layer: bpy.types.ViewLayer, without: Collection[bpy.types.Object]) -> Iterator[_Obstacle]:
    for each in view_layer.objects:
        if each.type not in _SOLID or markers.JOB in each or each in without or each.display_type in _OUTLINES:
            continue
        if not each.visible_get(view_layer=view_layer):
            continue
        thing = each.evaluated_get(view_layer.depsgraph)
        box = Box.around(thing.matrix_world @ Vector(corner) for corner in thing.bound_box)
        yield _Obstacle(box, thing if thing.type == "MESH" else None)


def _marked(view_layer: bpy.types.ViewLayer) -> Iterator[Box]:
    for marker in markers.helpers():
        if marker.get(markers.PART) == markers.MARKER and marker.name in view_layer.objects:
            edge = markers.edge_of(marker) * max(map(abs, marker.matrix_world.to_scale()))
            yield Box.of_edge(marker.matrix_world.translation, edge)


def _blocking(wanted: Box, obstacles: Iterable[_Obstacle]) -> _Obstacle | None:
    margin = wanted.size * _MARGIN
    return next((each for each in obstacles if wanted.overlaps(each.box, margin) and _is_hit(each, wanted)), None)


def _is_surroundings(obstacle: _Obstacle, wanted: Box) -> bool:
    if obstacle.is_reserved:
        return False
    widest = max(wanted.size.x, wanted.size.y)
    return max(obstacle.box.size.x, obstacle.box.size.y) > _SURROUNDINGS * widest


def _is_hit(obstacle: _Obstacle, wanted: Box) -> bool:
    """Whether an obstacle whose box overlaps the wanted one is really in the way."""
    if not _is_surroundings(obstacle, wanted):
        return True
    thing = obstacle.thing
    if thing is None or not 0 < len(thing.data.polygons) <= _MOST_FACES:
        return False
    into = thing.matrix_world.inverted_safe()
    middle = into @ wanted.middle
    found, nearest, _, _ = thing.closest_point_on_mesh(middle)
    reach = _REACH * min(wanted.size)
    if found and (thing.matrix_world @ nearest - wanted.middle).length < reach:
        return True
    return all(_hits_back_face(thing, middle, (into.to_3x3() @ axis).normalized()) for axis in _AXES)


def _hits_back_face(thing: bpy.types.Object, origin: Vector, direction: Vector) -> bool:
    """Whether a ray hits the back of the surface: inside a room rays hit front faces, inside a solid thing backs."""
    hit, _, normal, _ = thing.ray_cast(origin, direction)
    return bool(hit and normal.dot(direction) > 0.0)
