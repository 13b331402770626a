"""Free places: what arrives steps aside, along X, from what stands there already.

Things of about its own size are kept clear of by their bounding boxes. What is much wider is rather something to stand
in or on, such as a room, a floor or a landscape: only its surface, or its inside where it is solid, is no place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import bpy
from mathutils import Vector

from . import markers
from .destination import view_layer_of

GAP = 0.5
"""Between two things, in widths of the one that arrives."""

_SURROUNDINGS = 3.0
"""What is so many times as wide as the one that arrives is something to stand in."""

_MARGIN = 0.05
_REACH = 0.4
"""How far from its middle the one that arrives reaches at least; how far boxes may overlap; in shares of its size."""

_MOST_FACES = 200_000
"""A landscape of more is not asked for its surface, which would take long."""

_MOST_STEPS = 1000
_SOLID = ("MESH", "CURVE", "SURFACE", "META", "FONT")
_OUTLINES = ("WIRE", "BOUNDS")
_AXES = (Vector((1.0, 0.0, 0.0)), Vector((0.0, 1.0, 0.0)), Vector((0.0, 0.0, 1.0)))


@dataclass(frozen=True)
class Box:
    """The lowest and the highest corner in the world, in the scene's units."""

    low: Vector
    high: Vector

    @classmethod
    def around(cls, points: Iterable[Vector]) -> Box:
        axes = list(zip(*points, strict=True))
        return cls(Vector(map(min, axes)), Vector(map(max, axes)))

    @classmethod
    def of_edge(cls, base: Vector, edge: float) -> Box:
        """A cube that stands on its base's centre."""
        half = Vector((edge / 2.0, edge / 2.0, 0.0))
        return cls(base - half, base + half + Vector((0.0, 0.0, edge)))

    @property
    def middle(self) -> Vector:
        return (self.low + self.high) / 2.0

    @property
    def size(self) -> Vector:
        return self.high - self.low

    def moved(self, x: float) -> Box:
        aside = Vector((x, 0.0, 0.0))
        return Box(self.low + aside, self.high + aside)

    def overlaps(self, other: Box, margin: Vector) -> bool:
        """Whether they share more than a margin."""
        return all(self.low[axis] + margin[axis] < other.high[axis] for axis in range(3)) and all(
            other.low[axis] < self.high[axis] - margin[axis] for axis in range(3)
        )


@dataclass(frozen=True)
class _Obstacle:
    box: Box
    thing: bpy.types.Object | None = None
    """As evaluated, where it can be asked for its surface."""
    is_reserved: bool = False


class Floor:
    """What stands in a view layer now.

    Args:
        view_layer: one that somebody looks at.
        without: objects that count as not there.
        reserved: where more will stand soon, besides at the markers of waiting jobs.
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
        """Whether no thing stands there; where one is to arrive later does not count."""
        return _blocking(wanted, self._things) is None

    def way_aside(self, wanted: Box) -> float:
        """How far along X the nearest free place is; 0 where there is none, as in the midst of a landscape."""
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
        """Free places for several things in a row from `base` on, each a cube of so many of the scene's units."""
        x = 0.0
        for edge in edges:
            here = base + Vector((x, 0.0, 0.0))
            x += self.way_aside(Box.of_edge(here, edge))
            yield base + Vector((x, 0.0, 0.0))
            x += (1.0 + GAP) * edge


def move_aside(view_layer: bpy.types.ViewLayer, placed: bpy.types.Object) -> None:
    """Move an object along X where it stands in another one."""
    if view_layer not in markers.seen_view_layers() or placed.name not in view_layer.objects:
        return
    floor = Floor(view_layer, without=[placed])
    wanted = Box.around(placed.matrix_world @ Vector(corner) for corner in placed.bound_box)
    if not floor.is_free(wanted):
        placed.location.x += floor.way_aside(wanted)


def step_aside(context: bpy.types.Context, placed: bpy.types.Object) -> None:
    """The same in every scene that a new object is in: it may be wider than its place was thought to be."""
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
    return next((each for each in obstacles if wanted.overlaps(each.box, margin) and _is_met(each, wanted)), None)


def _is_surroundings(obstacle: _Obstacle, wanted: Box) -> bool:
    if obstacle.is_reserved:
        return False
    widest = max(wanted.size.x, wanted.size.y)
    return max(obstacle.box.size.x, obstacle.box.size.y) > _SURROUNDINGS * widest


def _is_met(obstacle: _Obstacle, wanted: Box) -> bool:
    """Whether an obstacle, whose box is met, is met itself."""
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
    return all(_sees_a_back(thing, middle, (into.to_3x3() @ axis).normalized()) for axis in _AXES)


def _sees_a_back(thing: bpy.types.Object, origin: Vector, direction: Vector) -> bool:
    """Whether one looks at the inner side of its surface: in a room one sees fronts, in a solid thing backs."""
    hit, _, normal, _ = thing.ray_cast(origin, direction)
    return bool(hit and normal.dot(direction) > 0.0)
