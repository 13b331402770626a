"""The starter prior's world: kinds of thing in named colours and patterns, alone or one on another, as meshes.

These meshes are the truth that the starter prior is trained on (through `render`), and that results are compared with
(through `sdi_engine.evaluation`). Canonical pose: Z up, the front faces -Y (so the thing's own left hand is on +X,
right in the picture from the front), standing on z = 0, its bounding box centred in x and y, scaled to touch a
vertical cylinder of radius 0.6 and height 1.

Every kind has two to four modes, objects so different that an average of them is none: a tall narrow house and a squat
cottage. `rng` chooses the mode, then its proportions. A new kind is one function in `kinds/`, decorated with
`@thing("name")`, that takes a random generator and returns painted parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .builder import Part
from .kinds import BUILDERS
from .paint import COLOURS, PATTERNS, WOODEN, Pattern, detail_colour, make_grain, make_pattern

CYLINDER_RADIUS = 0.6
CYLINDER_HEIGHT = 1.0

PAIRS: dict[tuple[str, str], tuple[float, float, float]] = {
    ("mug", "table"): (0.52, 0.0, 0.0),
    ("teapot", "table"): (0.55, 0.0, 0.0),
    ("cake", "table"): (0.58, 0.0, 0.0),
    ("bottle", "table"): (0.65, 0.0, 0.0),
    ("bird", "cactus"): (0.62, 0.0, 0.0),
    ("bird", "house"): (0.50, 0.0, 0.0),
    ("bird", "mushroom"): (0.55, 0.0, 0.0),
    ("bird", "castle"): (0.50, 0.0, 0.0),
    ("rabbit", "bed"): (0.55, 0.0, -0.05),
    ("rabbit", "chair"): (0.58, 0.0, -0.05),
    ("robot", "car"): (0.64, 0.0, 0.05),
    ("lamp", "table"): (0.72, 0.0, 0.0),
}
"""Which thing may stand on which: (size of the upper one relative to the lower, x, y of where it stands), in the lower
one's canonical pose."""


@dataclass(frozen=True)
class Item:
    """A thing as a prompt names it.

    Attributes:
        kind: one of `things()`.
        colour: one of `COLOURS`.
        pattern: one of `PATTERNS`.

    Raises:
        ValueError: an unknown kind, colour or pattern, or a pattern on wood.
    """

    kind: str
    colour: str
    pattern: str = "plain"

    def __post_init__(self) -> None:
        _known(self.kind, "thing", things())
        _known(self.colour, "colour", tuple(COLOURS))
        _known(self.pattern, "pattern", PATTERNS)
        if self.colour == WOODEN and self.pattern != "plain":
            raise ValueError("wooden things of the starter world have no pattern but their grain")


@dataclass(frozen=True)
class Subject:
    """What a picture shows: a thing, alone or on another.

    Attributes:
        thing: what the prompt is about.
        base: what it stands on, or None.

    Raises:
        ValueError: the two are not one of `PAIRS`.
    """

    thing: Item
    base: Item | None = None

    def __post_init__(self) -> None:
        if self.base is not None and (self.thing.kind, self.base.kind) not in PAIRS:
            pairs = ", ".join(f"{upper} on {lower}" for upper, lower in PAIRS)
            raise ValueError(f"no {self.thing.kind} stands on a {self.base.kind} in the starter world; it has {pairs}")

    @property
    def items(self) -> tuple[Item, ...]:
        """The thing, then its base if it has one."""
        return (self.thing,) if self.base is None else (self.thing, self.base)


@dataclass(frozen=True)
class Skin:
    """The pattern and the grain (wood only) of one item of an instance, as functions of position."""

    pattern: Pattern
    grain: Pattern | None


@dataclass(frozen=True)
class Instance:
    """A subject as a mesh in the canonical pose.

    Attributes:
        subject: what it is.
        vertices: (V, 3) float32.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        face_paint: (F, 6) float32: own red, green, blue, share of the named colour, share of the contrasting colour,
            and 1 where the pattern shows.
        face_item: (F,) int64: 0 for the thing, 1 for what it stands on.
        skins: one for each item.
    """

    subject: Subject
    vertices: np.ndarray
    faces: np.ndarray
    face_paint: np.ndarray
    face_item: np.ndarray
    skins: tuple[Skin, ...] = field(repr=False)

    def coefficients(self, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """The colours of points on the surface, as shares of the colours in `palette`.

        Args:
            points: (N, 3) in the canonical pose.
            faces: (N,) the faces they lie on.

        Returns:
            (N, 7) float32: own red, green, blue; then for the thing and for its base the shares of the named and of the
            contrasting colour. Their product with `palette` is the colour.
        """
        paint, item = self.face_paint[faces], self.face_item[faces]
        result = np.zeros((len(points), 7), dtype=np.float32)
        result[:, :3] = paint[:, :3]
        for index, skin in enumerate(self.skins):
            on_item = item == index
            if not on_item.any():
                continue
            main, detail, patterned = paint[on_item, 3], paint[on_item, 4], paint[on_item, 5] > 0
            cover = np.where(patterned, skin.pattern(points[on_item]), 0.0)
            if skin.grain is not None:
                main = main * (1 - skin.grain(points[on_item]))
            result[on_item, 3 + 2 * index] = main * (1 - cover)
            result[on_item, 4 + 2 * index] = detail + main * cover
        return result

    def albedo(self, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """(N, 3) colours in 0...1, sRGB, of points (N, 3) on faces (N,)."""
        return self.coefficients(points, faces) @ palette(self.subject)


def things() -> tuple[str, ...]:
    """The names of all kinds of thing, in alphabetical order."""
    return tuple(sorted(BUILDERS))


def palette(subject: Subject) -> np.ndarray:
    """(7, 3) float32, sRGB in 0...1: the colours that `Instance.coefficients` weight."""
    colours = np.zeros((7, 3), dtype=np.float32)
    colours[:3] = np.eye(3)
    for index, item in enumerate(subject.items):
        colours[3 + 2 * index] = COLOURS[item.colour]
        colours[4 + 2 * index] = detail_colour(item.colour)
    return colours


def make_instance(subject: Subject, rng: np.random.Generator) -> Instance:
    """Builds a subject; `rng` chooses proportions, parts and where the pattern lies."""
    meshes = [_Mesh.of(BUILDERS[item.kind](rng)) for item in subject.items]
    if subject.base is not None:
        ratio, x, y = PAIRS[subject.thing.kind, subject.base.kind]
        upper, lower = (canonical(mesh.vertices) for mesh in meshes)
        # The upper thing is sunk in a little, so that the two touch even where the lower one is uneven.
        seat = _height_at(lower[meshes[1].faces], x, y) - 0.01
        meshes[0].vertices, meshes[1].vertices = upper * ratio + np.array([x, y, seat]), lower
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    vertices = canonical(np.concatenate([mesh.vertices for mesh in meshes]))
    faces = np.concatenate([mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=True)])
    paint = np.concatenate([mesh.paint for mesh in meshes])
    item = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
    skins = tuple(
        Skin(
            make_pattern(named.pattern, _spread(vertices, faces[(item == index) & (paint[:, 5] > 0)], rng), rng),
            make_grain(rng) if named.colour == WOODEN else None,
        )
        for index, named in enumerate(subject.items)
    )
    return Instance(subject, vertices.astype(np.float32), faces, paint, item, skins)


def canonical(vertices: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) moved and scaled to the canonical pose: centred in x and y, on z = 0, touching the cylinder."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    moved = vertices - np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    radius = np.linalg.norm(moved[:, :2], axis=1).max()
    return moved * min(CYLINDER_RADIUS / radius, CYLINDER_HEIGHT / moved[:, 2].max())


@dataclass
class _Mesh:
    """Parts joined to one mesh: vertices (V, 3), faces (F, 3), paint (F, 6)."""

    vertices: np.ndarray
    faces: np.ndarray
    paint: np.ndarray

    @classmethod
    def of(cls, parts: list[Part]) -> _Mesh:
        offsets = np.cumsum([0] + [len(solid.vertices) for solid, _ in parts[:-1]])
        vertices = np.concatenate([solid.vertices for solid, _ in parts])
        faces = np.concatenate([solid.faces + offset for (solid, _), offset in zip(parts, offsets, strict=True)])
        rows = [(*paint.own, paint.main, paint.detail, float(paint.patterned)) for _, paint in parts]
        paint = np.repeat(np.array(rows, dtype=np.float32), [len(solid.faces) for solid, _ in parts], axis=0)
        return cls(vertices, faces, paint)


def _known(word: str, what: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ValueError(f"the starter world has no {what} {word!r}; it has {', '.join(known)}")


def _height_at(triangles: np.ndarray, x: float, y: float) -> float:
    """The highest z of triangles (F, 3, 3) at (x, y); their highest z anywhere if none lies there."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    doubled = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        v = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (y - a[:, 1])) / doubled
        w = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (x - a[:, 0]) * (b[:, 1] - a[:, 1])) / doubled
        height = a[:, 2] + v * (b[:, 2] - a[:, 2]) + w * (c[:, 2] - a[:, 2])
        over = (v >= 0) & (w >= 0) & (v + w <= 1)
    return float(height[over].max()) if over.any() else float(triangles[..., 2].max())


def _spread(vertices: np.ndarray, faces: np.ndarray, rng: np.random.Generator, count: int = 400) -> np.ndarray:
    """(count, 3) random points spread evenly over the faces; (0, 3) if there are no faces."""
    if not len(faces):
        return np.zeros((0, 3))
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = corners[rng.choice(len(faces), count, p=area / area.sum())]
    weights = rng.dirichlet((1.0, 1.0, 1.0), count)
    return (chosen * weights[:, :, None]).sum(axis=1)
